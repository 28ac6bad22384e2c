"""Calls of torchdiffeq, and of copies of it that packages bring along.

A copy is recognised by what it is, not by its name: an `odeint` of torchdiffeq's arguments, in a module that has the
solvers to do it.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torchdiffeq
from torch import nn

from odelet_intercept.call import Entry, Library, Reading
from odelet_intercept.errors import CaptureError

KINDS = ("odeint", "odeint_adjoint", "odeint_event", "odeint_dense")
# These arguments are about gradients and change nothing about the answer.
GRADIENTS = ("adjoint_rtol", "adjoint_atol", "adjoint_method", "adjoint_options", "adjoint_params")

OWN = tuple(
    Entry(kind, getattr(torchdiffeq, kind), torchdiffeq.odeint, "torchdiffeq")
    for kind in KINDS
    if hasattr(torchdiffeq, kind)
)

# What the functions of torchdiffeq take. Read at import, as the functions are changed while they are caught.
ARGUMENTS = {entry.kind: frozenset(inspect.signature(entry.function).parameters) for entry in OWN}
# What every torchdiffeq has taken, and names of methods that every one has.
_ARGUMENTS = {"func", "y0", "t", "rtol", "atol", "method", "options"}
_SOLVERS = {"dopri5", "euler", "rk4"}
# These modules hold torchdiffeq's own functions, or wrappers of them.
_ODELET = ("odelet_export.", "odelet_intercept.")

_FIELDS = ("func", "y0", "t", "rtol", "atol", "method", "options", "event_fn")


def _read(entry: Entry, bound: inspect.BoundArguments, where: str) -> Reading:
    if entry.kind == "odeint_dense":
        raise CaptureError(
            where + "the model calls torchdiffeq.odeint_dense, which cannot be exported yet; "
            "solve to fixed times with odeint instead"
        )
    if entry.copy:
        _check_known(entry, bound, where)
        bound.apply_defaults()
    given = dict(bound.arguments)
    if entry.kind == "odeint_event":
        return lambda: _until_event(**given, where=where)
    known = {name: given.pop(name) for name in _FIELDS if name in given}
    return {**known, "extra": given}


def _check_known(entry: Entry, bound: inspect.BoundArguments, where: str) -> None:
    """Refuse an argument that a copy of torchdiffeq takes and torchdiffeq does not."""
    known = ARGUMENTS[entry.kind].union(GRADIENTS)
    for name, value in bound.arguments.items():
        default = bound.signature.parameters[name].default
        if name not in known and value is not default and value is not None and value is not False:
            raise CaptureError(
                where
                + f"{name}={value!r} is an argument of {entry.kind} in {entry.copy}, a copy of torchdiffeq, which "
                "torchdiffeq does not have; leave it out"
            )


def _until_event(
    func: Any,
    y0: Any,
    t0: Any,
    *,
    event_fn: Any,
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = torchdiffeq.odeint,
    kwargs: Mapping[str, Any] | None = None,
    where: str = "",
) -> Any:
    """What `odeint_event` does at inference: a solve whose second time only says the direction.

    The interface is one of the caught functions, or leads to one. What else `odeint_event` does concerns gradients.
    """
    if not isinstance(t0, torch.Tensor) or t0.numel() != 1:
        raise CaptureError(where + f"t0 must be a tensor of one number; got {t0!r}")
    start = t0.reshape(-1)
    t = torch.cat([start, start - 1.0 if reverse_time else start + 1.0])
    return odeint_interface(func, y0, t, event_fn=event_fn, **(kwargs or {}))


TORCHDIFFEQ = Library("torchdiffeq", lambda: OWN, _read)


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
