"""Arrays by input name, as the arguments of a call of the model, and a first run on them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from odelet.errors import InputError
from odelet_export.model.trees import Tree
from odelet_intercept.user_code import as_typed, place_of_error


def _needed(function: Any) -> list[str]:
    """Names of the parameters without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin; calling it will tell
        return []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in free]


def call_arguments(model: nn.Module, arrays: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arrays as positional and keyword arguments of the model, in the order of its signature.

    Arrays with dotted names make a dict, or a tuple where the names are numbers. Raises InputError for an input that
    the model does not have, and for one that it lacks.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [p.name for p in parameters if p.kind not in free]
    tensors = nested({name: torch.from_numpy(array) for name, array in arrays.items()})
    unknown = [name for name in tensors if name not in names]
    if unknown and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        takes = f"takes {', '.join(names)}" if names else "has no arguments with names"
        raise InputError(f"--input {unknown[0]}: forward of {type(model).__name__} {takes}")
    missing = [name for name in _needed(model.forward) if name not in tensors]
    if missing:
        raise InputError(f'forward of {type(model).__name__} needs {missing[0]!r} too; add --input "{missing[0]}=..."')
    tensors = {name: tensors[name] for name in [*names, *unknown] if name in tensors}
    first = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY and p.name in tensors]
    return tuple(tensors.pop(name) for name in first), tensors


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Dicts and tuples from leaves with dotted names: {"a.x": 1, "b.0": 2} is {"a": {"x": 1}, "b": (2,)}."""
    groups: dict[str, dict[str, Any]] = {}
    for name, leaf in leaves.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = leaf
    return {first: _structure(first, group) for first, group in groups.items()}


def _structure(name: str, group: dict[str, Any]) -> Any:
    """What the leaves below a name make; the leaf of the name itself is under ""."""
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


def check_runs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Run a model on its example. Raises InputError when that fails, so that there is nothing to export."""
    args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, (tuple(args), dict(kwargs)))
    try:
        with torch.no_grad():
            model.eval()(*args, **kwargs)
    except Exception as error:  # the user's code may raise anything
        leaves = Tree([*("" for _ in args), *kwargs], [*args, *kwargs.values()]).leaves
        shapes = [
            f"{name} {str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)}".strip() for name, leaf in leaves
        ]
        place = place_of_error(error, causes=False)
        where = "somewhere" if place is None else as_typed(place)
        # torchdiffeq's words
        times = "strictly increasing or decreasing" in str(error)
        raise InputError(
            f"the model fails on its example ({', '.join(shapes)}) in plain torch, {where}: "
            f"{type(error).__name__}: {error}"
            f"{'; an input of times is drawn in order by, say, float32[times]:linspace(0,1)' if times else ''}"
        ) from error
