"""Tensors in dicts, tuples and the like, as a flat row with dotted names: `batch.x`, `parts.0`, `state.h.0`.

All walks over nested containers are here. torch's pytree takes arguments apart and builds them again. The result of a
model is walked by the rules of the runtime, which looks into more classes than the pytree does: dataclasses that torch
does not know, and mappings of any class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from odelet.errors import InputError
from odelet.model.arguments import container_items
from odelet_intercept.errors import CaptureError

Leaf = tuple[str, Any]  # a dotted name, and a value that is no container
ROWS = (tuple, list, torch.Size)  # the classes of results whose elements have numbers for names


class Tree:
    """The arguments of a call as a flat row of named leaves, and the way back.

    names: a name for each argument. arguments: nested containers of tensors and other values. Raises CaptureError for
    a dataclass that holds tensors and is not registered with torch.
    """

    def __init__(self, names: Sequence[str], arguments: Sequence[Any]) -> None:
        self.leaves: list[Leaf] = []
        keyed_leaves, self._spec = pytree.tree_flatten_with_path(list(arguments))
        for (first, *path), leaf in keyed_leaves:
            name = ".".join([names[int(_key(first))], *map(_key, path)])
            _check_leaf(name, leaf)
            self.leaves.append((name, leaf))

    def rebuilt(self, leaves: Sequence[Any]) -> list[Any]:
        """The arguments with other values for their leaves. leaves: the values, in the order of `self.leaves`."""
        arguments: list[Any] = pytree.tree_unflatten(leaves, self._spec)
        return arguments


def _key(entry: Any) -> str:
    """The text of one step of a path in a pytree: an index, a key or the name of a field."""
    for attribute in ("idx", "key", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    raise AssertionError(f"torch has a new kind of key, {entry!r}")


def _check_leaf(name: str, leaf: Any) -> None:
    """Raise CaptureError for a dataclass that torch does not look into: its tensors would stay as in the example."""
    if not is_dataclass(leaf) or isinstance(leaf, type):
        return
    tensor_fields = [f.name for f in fields(leaf) if tensors_in(getattr(leaf, f.name, None))]
    if tensor_fields:
        kind = type(leaf).__name__
        raise CaptureError(
            f"input {name!r} is a {kind} with the tensor {tensor_fields[0]!r}, and torch does not know that dataclass; "
            f"call torch.export.register_dataclass({kind}) once, or pass a dict"
        )


def result_leaves(result: Any) -> list[Leaf]:
    """The leaves of a model's result, with names; leaves that are not tensors are among them.

    The name is `output` for a tensor, `output_0`, `output_1`, ... for the elements of a tuple or list, and the key or
    the field for the elements of other containers. Deeper leaves have dotted names.
    """
    if type(result) in ROWS:
        return [leaf for i, value in enumerate(result) for leaf in _leaves(f"output_{i}", value)]
    items = container_items(result)
    if items is None:
        return [("output", result)]
    return [leaf for key, value in items for leaf in _leaves(str(key), value)]


def _leaves(name: str, value: Any) -> Iterator[Leaf]:
    items = container_items(value)
    if items is None:
        yield name, value
        return
    for key, part in items:
        yield from _leaves(f"{name}.{key}", part)


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in nested containers that torch's pytree knows."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """A copy of nested containers with `function(tensor)` for each tensor; other leaves stay as they are."""
    return pytree.tree_map_only(torch.Tensor, function, value)


def row_leaves(value: Any) -> list[Any]:
    """The leaves of nested lists and tuples, in order; a value that is neither is a leaf."""
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in row_leaves(part)]
    return [value]


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Dicts and tuples from leaves with dotted names: {"a.x": 1, "b.0": 2} is {"a": {"x": 1}, "b": (2,)}.

    Raises InputError where a name stands for a leaf and for a container, and where the indices of a tuple have a gap.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, leaf in leaves.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = leaf
    return {first: _structure(first, group) for first, group in groups.items()}


def _structure(name: str, group: dict[str, Any]) -> Any:
    """The container or leaf that a name stands for. group: the leaves below it; the leaf of the name itself is ""."""
    if "" in group:
        other = next((key for key in group if key), None)
        if other is not None:
            raise InputError(f"the inputs {name!r} and '{name}.{other}' exclude each other; leave one out")
        return group[""]
    parts = nested(group)
    if not all(key.isdecimal() for key in parts):
        return parts
    missing = [i for i in range(len(parts)) if str(i) not in parts]
    if missing:
        raise InputError(
            f"the parts {', '.join(parts)} of the input {name!r} make no tuple; '{name}.{missing[0]}' lacks"
        )
    return tuple(parts[str(i)] for i in range(len(parts)))
