"""What a model keeps between runs, and a context that puts it back: attributes, buffers, variables of closures.

Fields keep noise or embeddings from their first call (`if self.e is None:`), on a module, on an object of any other
class, or in a variable of the function around them.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

# Classes of these packages keep what they keep on purpose; a model's own objects are of other classes.
_LIBRARIES = {"torch", "numpy", "builtins", "torchdiffeq", "odelet", "odelet_intercept", "odelet_export"}
# A model that holds a whole data set is not searched to its end.
_MOST_OBJECTS = 10_000
_NOTHING = object()


@contextmanager
def restoring(root: nn.Module) -> Iterator[None]:
    """Put back, on leaving, what runs of a model change on its modules, its other objects and its closures.

    Buffers get their values back; what is in lists and dicts stays as a run left it. root: a module that holds the
    model.
    """
    modules = list(root.modules())
    objects, cells = _reached(modules)
    attributes = [(thing, dict(vars(thing))) for thing in (*modules, *objects)]
    # The tables of a ScriptModule belong to its C++ object.
    plain = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (table, dict(table)) for module in plain for table in (module._buffers, module._parameters)
    ]
    variables = [(cell, _content(cell)) for cell in cells]
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
        for cell, content in variables:
            if _content(cell) is not content and content is not _NOTHING:
                cell.cell_contents = content
        with torch.no_grad():
            for buffer, before_run in buffers:
                buffer.copy_(before_run)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return _NOTHING


def _reached(modules: list[nn.Module]) -> tuple[list[Any], list[types.CellType]]:
    """The objects of the user's own classes, and the variables of closures, that a model's modules lead to."""
    objects: list[Any] = []
    cells: list[types.CellType] = []
    seen = {id(module) for module in modules}
    waiting: list[Any] = [value for module in modules for value in vars(module).values()]
    while waiting and len(seen) < _MOST_OBJECTS:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (torch.Tensor, type, types.ModuleType, str, int, float)):
            continue
        seen.add(id(value))
        if isinstance(value, types.CellType):
            cells.append(value)
            waiting.append(_content(value))
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, nn.Module):
            waiting += vars(value).values()
        elif callable(value) and _parts_of(value):
            waiting += _parts_of(value)
        elif hasattr(value, "__dict__") and type(value).__module__.split(".")[0] not in _LIBRARIES:
            objects.append(value)
            waiting += vars(value).values()
    return objects, cells


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
