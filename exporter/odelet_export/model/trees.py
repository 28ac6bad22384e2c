"""Tensors in dicts, tuples and the like, as a flat row with dotted names: `batch.x`, `parts.0`, `state.h.0`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from odelet_intercept.errors import CaptureError

Leaf = tuple[str, Any]


class Tree:
    """The arguments of a call, taken apart into leaves with names.

    names: a name for each argument. Raises CaptureError for an argument that hides tensors.
    """

    def __init__(self, names: Sequence[str], arguments: Sequence[Any]) -> None:
        self.leaves: list[Leaf] = []
        found, self._spec = pytree.tree_flatten_with_path(list(arguments))
        for (first, *path), leaf in found:
            name = ".".join([names[int(_key(first))], *map(_key, path)])
            _check_leaf(name, leaf)
            self.leaves.append((name, leaf))

    def rebuilt(self, leaves: Sequence[Any]) -> list[Any]:
        """The arguments, with other leaves."""
        arguments: list[Any] = pytree.tree_unflatten(leaves, self._spec)
        return arguments


def _key(entry: Any) -> str:
    """What stands after the dot: an index, a key or a field."""
    for attribute in ("idx", "key", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    raise AssertionError(f"torch has a new kind of key, {entry!r}")


def _check_leaf(name: str, leaf: Any) -> None:
    """Refuse what torch does not look into: tensors in it would be kept as they are in the example."""
    if not is_dataclass(leaf) or isinstance(leaf, type):
        return
    inside = [f.name for f in fields(leaf) if pytree.tree_any(_is_tensor, getattr(leaf, f.name, None))]
    if inside:
        kind = type(leaf).__name__
        raise CaptureError(
            f"input {name!r} is a {kind} with the tensor {inside[0]!r}, and torch does not know that dataclass; call "
            f"torch.export.register_dataclass({kind}) once, or pass a dict"
        )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def result_leaves(result: Any) -> list[Leaf]:
    """What a model returned, with names: `output` for a tensor, `output_0`, ... for those of a tuple or list, keys and
    fields for those of anything else; dotted below. Leaves that are not tensors are among them."""
    if type(result) in (tuple, list):
        return [leaf for i, value in enumerate(result) for leaf in _leaves(f"output_{i}", value)]
    parts = _parts(result)
    if parts is None:
        return [("output", result)]
    return [leaf for key, value in parts for leaf in _leaves(str(key), value)]


def _leaves(name: str, value: Any) -> Iterator[Leaf]:
    parts = _parts(value)
    if parts is None:
        yield name, value
        return
    for key, part in parts:
        yield from _leaves(f"{name}.{key}", part)


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """The parts of a container; None for what is none."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in fields(value)]
    return None
