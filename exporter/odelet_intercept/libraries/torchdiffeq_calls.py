"""Calls of torchdiffeq, and of copies of it that packages bring along.

A copy is recognised by its contents, not by its name: a function `odeint` with torchdiffeq's arguments, in a module
that has the solvers to run it.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from odelet_intercept.call import Call, Entry, Library, Reading
from odelet_intercept.errors import CaptureError
from odelet_intercept.solver_library import NAME, torchdiffeq

NAMES = ("odeint", "odeint_adjoint", "odeint_event", "odeint_dense")
# These arguments concern gradients and do not change the solution.
GRADIENTS = ("adjoint_rtol", "adjoint_atol", "adjoint_method", "adjoint_options", "adjoint_params")

OWN = tuple(
    Entry(name, getattr(torchdiffeq, name), "torchdiffeq", torchdiffeq.odeint)
    for name in NAMES
    if hasattr(torchdiffeq, name)
)

# The arguments of the functions of torchdiffeq. They are read at import, as the functions change while they are caught.
ARGUMENTS = {entry.name: frozenset(inspect.signature(entry.function).parameters) for entry in OWN}
# Arguments and methods that every release of torchdiffeq has had.
_ARGUMENTS = {"func", "y0", "t", "rtol", "atol", "method", "options"}
_SOLVERS = {"dopri5", "euler", "rk4"}
# The modules of these packages hold torchdiffeq's own functions, or wrappers of them, and no copies.
_ODELET = ("odelet_export.", "odelet_intercept.")
# Packages with thousands of modules, none of which is a user's or a copy of torchdiffeq.
_LARGE = frozenset({"torch", "torchgen", "sympy", "numpy", "scipy", "onnx", "onnx_ir", "onnxscript", "onnxruntime"})

# The arguments that are fields of a `Call`.
_FIELDS = ("func", "y0", "t", "rtol", "atol", "method", "options", "event_fn")


def _read(entry: Entry, bound: inspect.BoundArguments, where: str) -> Reading:
    if entry.name == "odeint_dense":
        raise CaptureError(
            where + "the model calls torchdiffeq.odeint_dense, which cannot be exported yet; "
            "solve to fixed times with odeint instead"
        )
    if entry.copy:
        _check_known(entry, bound, where)
        bound.apply_defaults()
    arguments = dict(bound.arguments)
    if entry.name == "odeint_event":
        return lambda: _until_event(**arguments, where=where)
    fields = {name: arguments.pop(name) for name in _FIELDS if name in arguments}
    return Call(**fields, extra=arguments)


def _check_known(entry: Entry, bound: inspect.BoundArguments, where: str) -> None:
    """Raise CaptureError for an argument that a copy of torchdiffeq takes and torchdiffeq does not, unless its value is
    the default."""
    known_arguments = ARGUMENTS[entry.name].union(GRADIENTS)
    for name, value in bound.arguments.items():
        default = bound.signature.parameters[name].default
        if name not in known_arguments and value is not default and value is not None and value is not False:
            raise CaptureError(
                where
                + f"{name}={value!r} is an argument of {entry.name} in {entry.copy}, a copy of torchdiffeq, which "
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
    """The result of `odeint_event` at inference: the result of a solve until an event.

    The second of the solve's two times only gives the direction. odeint_interface is one of the caught functions, or
    calls one. Everything else in `odeint_event` concerns gradients.
    """
    if not isinstance(t0, torch.Tensor) or t0.numel() != 1:
        raise CaptureError(where + f"t0 must be a tensor of one number; got {t0!r}")
    start = t0.reshape(-1)
    t = torch.cat([start, start - 1.0 if reverse_time else start + 1.0])
    return odeint_interface(func, y0, t, event_fn=event_fn, **(kwargs or {}))


TORCHDIFFEQ = Library("torchdiffeq", lambda: OWN, _read)


def find_copies(model: Callable[..., Any]) -> tuple[Entry, ...]:
    """The functions of copies of torchdiffeq: in the imported modules, and in the globals of the model's functions."""
    entries: dict[types.FunctionType, Entry] = {}
    for space in namespaces(model):
        for value in list(space.values()):
            if type(value) is types.FunctionType and value.__name__ in NAMES and not value.__closure__:
                entries |= _copy_entries(value)
    return tuple(entries.values())


def namespaces(model: Callable[..., Any]) -> Iterator[Mapping[str, Any]]:
    """The globals of the imported modules, and of the files behind the model's functions.

    A file that was run by `exec` or loaded by path is no module in sys.modules.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _LARGE or name.startswith(_ODELET):
            continue
        if isinstance(module, types.ModuleType):
            yield vars(module)
    objects: list[Any] = list(model.modules()) if isinstance(model, nn.Module) else [model]
    for item in objects:
        for owner in (item, *type(item).__mro__):
            members = [owner, *vars(owner).values()] if hasattr(owner, "__dict__") else [owner]
            yield from (member.__globals__ for member in members if isinstance(member, types.FunctionType))


def _copy_entries(function: types.FunctionType) -> dict[types.FunctionType, Entry]:
    """The entries of a function and of the odeint that solves for it; empty where they belong to no copy."""
    odeint = function if function.__name__ == "odeint" else function.__globals__.get("odeint")
    if not isinstance(odeint, types.FunctionType) or not _is_copy(odeint) or _hands_on(function):
        return {}
    parameters = set(inspect.signature(function).parameters)
    if function.__name__ == "odeint_adjoint" and not parameters >= _ARGUMENTS:
        return {}
    copy = odeint.__module__ or odeint.__code__.co_filename
    if copy.split(".")[0] == NAME:  # a copy that has the library's own name is known by its folder
        copy = os.path.dirname(odeint.__code__.co_filename)
    functions = {"odeint": odeint, function.__name__: function}
    return {f: Entry(name, f, "torchdiffeq", odeint, copy) for name, f in functions.items()}


def _is_copy(odeint: types.FunctionType) -> bool:
    """Whether an odeint belongs to a copy of torchdiffeq: it has the arguments, and its module has the solvers."""
    if any(odeint is entry.function for entry in OWN) or _hands_on(odeint):
        return False
    solvers = odeint.__globals__.get("SOLVERS")
    has_solvers = isinstance(solvers, Mapping) and bool(_SOLVERS & set(solvers))
    is_named_alike = "_impl" in (odeint.__module__ or "")
    return (has_solvers or is_named_alike) and set(inspect.signature(odeint).parameters) >= _ARGUMENTS


def _hands_on(function: types.FunctionType) -> bool:
    """Whether a function calls torchdiffeq itself: it is then a wrapper, and is traced as it stands."""
    names_read = [function.__globals__.get(name) for name in function.__code__.co_names]
    return any(value is torchdiffeq or any(value is entry.function for entry in OWN) for value in names_read)
