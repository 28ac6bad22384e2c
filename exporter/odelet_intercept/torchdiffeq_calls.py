"""Calls of torchdiffeq, and of copies of it that packages bring along."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchdiffeq

from odelet_intercept.errors import CaptureError
from odelet_intercept.library import Entry, Library, Reading

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
