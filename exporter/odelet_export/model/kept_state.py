"""What a model keeps between runs, and a context that puts it back: attributes, buffers, variables of closures.

Fields keep noise or embeddings from their first call (`if self.e is None:`), on a module, on an object of any other
class, or in a variable of the function around them.
"""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

# Classes of these packages keep what they keep on purpose; a model's own objects are of other classes.
_LIBRARIES = {"torch", "numpy", "builtins", "torchdiffeq", "odelet", "odelet_intercept", "odelet_export"}
# A model that holds a whole data set is not searched to its end.
_MOST_OBJECTS = 10_000
_NOTHING = object()
# Containers of these classes get back what was in them.
_REFILLED = {list, set, dict, collections.OrderedDict, collections.defaultdict}


@contextmanager
def restoring(root: nn.Module) -> Iterator[None]:
    """Put back, on leaving, what runs of a model change on its modules, its other objects, its lists and dicts, and its
    closures.

    Buffers get their values back. root: a module that holds the model.
    """
    modules = list(root.modules())
    reached = _reached(modules)
    attributes = [(thing, dict(vars(thing))) for thing in (*modules, *reached.objects)]
    # The tables of a ScriptModule belong to its C++ object.
    plain = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (table, dict(table)) for module in plain for table in (module._buffers, module._parameters)
    ]
    variables = [(cell, _content(cell)) for cell in reached.cells]
    contents = [(held, held.copy()) for held in reached.containers if type(held) in _REFILLED]
    buffers = [(buffer, buffer.clone()) for buffer in root.buffers()]
    try:
        yield
    finally:
        for thing, before in attributes:
            vars(thing).clear()
            vars(thing).update(before)
        for table, entries in tables:
            table.clear()
            table.update(entries)
        for held, before in contents:
            if not _same(held, before):
                _refill(held, before)
        for cell, content in variables:
            if _content(cell) is not content and content is not _NOTHING:
                cell.cell_contents = content
        with torch.no_grad():
            for buffer, before_run in buffers:
                buffer.copy_(before_run)


@contextmanager
def kept(root: nn.Module) -> Iterator[Callable[[], bool]]:
    """A context that yields a function: whether what ran within left something else in the objects that a model leads
    to, in its lists or in its closures. The values of tensors are not compared."""
    before, after = _picture(root), None
    try:
        yield lambda: after is not None and after != before
    finally:
        after = _picture(root)


def _picture(root: nn.Module) -> list[Any]:
    """The identities of all that a model's objects, containers and closures hold."""
    modules = list(root.modules())
    reached = _reached(modules)
    holders = [vars(thing) for thing in (*modules, *reached.objects)]
    contents = [*holders, *reached.containers, *([_content(cell)] for cell in reached.cells)]
    return [[id(value) for value in (part.values() if isinstance(part, dict) else part)] for part in contents]


def _same(held: Any, before: Any) -> bool:
    """Whether a container holds the very things that it held before."""
    pairs = [
        [*part.items()] if isinstance(part, dict) else [(thing, None) for thing in part] for part in (held, before)
    ]
    return len(held) == len(before) and all(a is c and b is d for (a, b), (c, d) in zip(*pairs, strict=True))


def _refill(held: Any, before: Any) -> None:
    held.clear()
    held.extend(before) if isinstance(held, list) else held.update(before)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return _NOTHING


@dataclass
class _Reached:
    """What a model's modules lead to: objects of the user's own classes, containers, and variables of closures."""

    objects: list[Any] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    cells: list[types.CellType] = field(default_factory=list)


def _reached(modules: list[nn.Module]) -> _Reached:
    reached = _Reached()
    seen = {id(module) for module in modules}
    waiting: list[Any] = [value for module in modules for value in vars(module).values()]
    while waiting and len(seen) < _MOST_OBJECTS:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (torch.Tensor, type, types.ModuleType, str, int, float)):
            continue
        seen.add(id(value))
        if isinstance(value, types.CellType):
            reached.cells.append(value)
            waiting.append(_content(value))
        elif isinstance(value, (list, tuple, set, frozenset)):
            reached.containers.append(value)
            waiting += value
        elif isinstance(value, dict):
            reached.containers.append(value)
            waiting += value.values()
        elif isinstance(value, nn.Module):
            waiting += vars(value).values()
        elif callable(value) and _parts_of(value):
            waiting += _parts_of(value)
        elif hasattr(value, "__dict__") and type(value).__module__.split(".")[0] not in _LIBRARIES:
            reached.objects.append(value)
            waiting += vars(value).values()
    return reached


def _parts_of(function: Callable[..., Any]) -> list[Any]:
    """What a function, a method or a partial holds: its closure, its defaults, its object, its arguments."""
    if isinstance(function, types.MethodType):
        return [function.__self__, function.__func__]
    if isinstance(function, functools.partial):
        return [function.func, *function.args, *function.keywords.values()]
    if isinstance(function, types.FunctionType):
        return [
            *(function.__closure__ or ()),
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
        ]
    return []
