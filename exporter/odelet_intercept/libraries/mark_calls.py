"""Calls of `mark`: odelet's own way to say that a loop in a model is an iteration to a fixed point."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from odelet_intercept.call import Call, Entry, Library
from odelet_intercept.fixed_point import MarkArguments, as_field, check_mark_arguments
from odelet_intercept.mark import mark


def mark_arguments_of(call: Call) -> MarkArguments:
    """The checked arguments of a caught call of `mark`. Raises InputError naming an argument that is not valid."""
    options = dict(call.options or {})
    norm = options.pop("norm", None)
    return check_mark_arguments(
        method=call.method, rtol=call.rtol, atol=call.atol, norm=norm, options=options, **call.extra
    )


def _read(_entry: Entry, bound: inspect.BoundArguments, _where: str) -> Call:
    bound.apply_defaults()
    return _as_call(**bound.arguments)


def _as_call(f: Any, z0: Any, *, method: Any, rtol: Any, atol: Any, norm: Any, options: Any, **extra: Any) -> Call:
    """A call of `mark` by odeint's names. norm is an option there; arguments unknown to odeint are `extra`."""
    options = dict(options or {}) | ({"norm": norm} if norm is not None else {})
    # A capture calls the field with a time, as it does the fields of ODEs; no time is read.
    field, t = as_field(f, z0), torch.zeros(1)
    return Call(field, z0, t, method=method, rtol=rtol, atol=atol, options=options, extra=extra)


MARK = Library(
    "odelet_intercept",
    lambda: [Entry("mark", mark, "mark")],  # type: ignore[arg-type]  # mypy takes no `def` for a FunctionType
    _read,
)
