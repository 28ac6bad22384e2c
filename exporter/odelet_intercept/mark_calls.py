"""Calls of `mark`: odelet's own way to say that a loop in a model is an iteration to a fixed point."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torchdiffeq

from odelet_intercept.call import Call, Entry, Library
from odelet_intercept.fixed_point import MarkArguments, as_field, check_mark_arguments
from odelet_intercept.mark import mark


def mark_arguments_of(call: Call) -> MarkArguments:
    """What a caught call of `mark` asks for. Raises InputError naming an argument that cannot be."""
    options = dict(call.options or {})
    norm = options.pop("norm", None)
    return check_mark_arguments(
        method=call.method, rtol=call.rtol, atol=call.atol, norm=norm, options=options, **call.extra
    )


def _read(entry: Entry, bound: inspect.BoundArguments, where: str) -> Mapping[str, Any]:
    del entry, where
    bound.apply_defaults()
    return _as_odeint(**bound.arguments)


def _as_odeint(
    f: Any, z0: Any, *, method: Any, rtol: Any, atol: Any, norm: Any, options: Any, **extra: Any
) -> dict[str, Any]:
    """The arguments of a call of `mark`, under odeint's names where it has them."""
    options = dict(options or {}) | ({"norm": norm} if norm is not None else {})
    known = {"method": method, "rtol": rtol, "atol": atol, "options": options, "extra": extra}
    # A capture calls the field with a time, as it does the fields of ODEs.
    return {"func": as_field(f, z0), "y0": z0, "t": torch.zeros(1), **known}


# `mark` knows no solver of its own that a handler could call, so it gets torchdiffeq's and does not use it.
MARK = Library(
    "odelet_intercept",
    lambda: [Entry("mark", mark, torchdiffeq.odeint, "mark")],  # type: ignore[arg-type]  # a function, not a method
    _read,
)
