"""Copies of torchdiffeq that packages bring along, and their functions, to be caught like torchdiffeq's own.

A copy is recognised by what it is, not by its name: an `odeint` of torchdiffeq's arguments, in a module that has the
solvers to do it.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torchdiffeq
from torch import nn

from odelet_intercept.library import Entry
from odelet_intercept.torchdiffeq_calls import KINDS, OWN

# What every torchdiffeq has taken, and names of methods that every one has.
_ARGUMENTS = {"func", "y0", "t", "rtol", "atol", "method", "options"}
_SOLVERS = {"dopri5", "euler", "rk4"}
# These modules hold torchdiffeq's own functions, or wrappers of them.
_ODELET = ("odelet_export.", "odelet_intercept.")


def find_copies(model: Callable[..., Any]) -> tuple[Entry, ...]:
    """The functions of copies of torchdiffeq, in what is imported and in what the model's functions read."""
    found: dict[types.FunctionType, Entry] = {}
    for space in _namespaces(model):
        for value in list(space.values()):
            if type(value) is types.FunctionType and value.__name__ in KINDS and not value.__closure__:
                found |= _entries(value)
    return tuple(found.values())


def _namespaces(model: Callable[..., Any]) -> Iterator[Mapping[str, Any]]:
    """The globals of loaded modules, and those of files that were run and are no modules of Python's."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, types.ModuleType) and not name.startswith(_ODELET):
            yield vars(module)
    parts: list[Any] = list(model.modules()) if isinstance(model, nn.Module) else [model]
    for part in parts:
        for owner in (part, *type(part).__mro__):
            members = [owner, *vars(owner).values()] if hasattr(owner, "__dict__") else [owner]
            yield from (member.__globals__ for member in members if isinstance(member, types.FunctionType))


def _entries(function: types.FunctionType) -> dict[types.FunctionType, Entry]:
    """A function and the odeint that solves for it, if they are of a copy."""
    odeint = function if function.__name__ == "odeint" else function.__globals__.get("odeint")
    if not isinstance(odeint, types.FunctionType) or not _is_copy(odeint) or _hands_on(function):
        return {}
    taken = set(inspect.signature(function).parameters)
    if function.__name__ == "odeint_adjoint" and not taken >= _ARGUMENTS:
        return {}
    copy = odeint.__module__ or odeint.__code__.co_filename
    made = {odeint: Entry("odeint", odeint, odeint, "torchdiffeq", copy)}
    return made | {function: Entry(function.__name__, function, odeint, "torchdiffeq", copy)}


def _is_copy(odeint: types.FunctionType) -> bool:
    """Whether an odeint solves by itself, as torchdiffeq's does."""
    if any(odeint is entry.function for entry in OWN) or _hands_on(odeint):
        return False
    solvers = odeint.__globals__.get("SOLVERS")
    known = isinstance(solvers, Mapping) and bool(_SOLVERS & set(solvers))
    named = "_impl" in (odeint.__module__ or "")
    return (known or named) and set(inspect.signature(odeint).parameters) >= _ARGUMENTS


def _hands_on(function: types.FunctionType) -> bool:
    """Whether a function calls torchdiffeq itself: a wrapper of the author's, which is traced as it is."""
    read = [function.__globals__.get(name) for name in function.__code__.co_names]
    return any(value is torchdiffeq or any(value is entry.function for entry in OWN) for value in read)
