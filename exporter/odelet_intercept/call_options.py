"""Reading the options and tolerances of a call: torchdiffeq's values, as settings of odelet's solvers."""

from __future__ import annotations

import numbers
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from odelet.methods.method import Method
from odelet.numerics.control import Control
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError

Tolerance = float | tuple[float, ...] | None

# Options that are values of the model.
POINTS = ("step_t", "jump_t")
_CONTROL = tuple(f.name for f in fields(Control) if f.name not in ("controller", "dtype"))

# torchdiffeq drops these without a word for the methods of a kind, and they change nothing there.
_DROPPED = {"adaptive": (), "fixed": ("norm",), "scipy": ("norm", "grid_points", "eps")}


def read_options(call: Call, where: str, solver: Method, *, overridden: bool) -> tuple[dict[str, Any], list[str]]:
    """The options that the method takes, as settings, and warnings.

    Those of another kind of method are dropped with a warning, as in torchdiffeq; those that are values of the
    model (step_t, jump_t, a grid) are read elsewhere. Raises CaptureError for what cannot be exported.
    """
    kind = "adaptive" if solver.adaptive else "fixed" if solver.fixed else "scipy"
    own: tuple[str, ...] = {"adaptive": _CONTROL, "fixed": ("step_size", "interp", "perturb"), "scipy": ()}[kind]
    own = (*own, *solver.option_names())
    taken: dict[str, Any] = {}
    warnings = []
    for name, value in (call.options or {}).items():
        if name == "norm" and solver.adaptive and not overridden and not (value is None or callable(value)):
            raise CaptureError(where + f"option norm={value!r} must be a function of the state")
        if solver.adaptive and name in (*POINTS, "norm"):
            continue
        if solver.adaptive and name == "dtype":
            taken[name] = "float64" if value is None else _time_dtype(value, where)
        elif name in own:
            taken |= _taken(name, value, where)
        elif kind == "fixed" and name == "grid_constructor":
            taken["constructed"] = value is not None
        elif not overridden and name not in _DROPPED[kind]:
            warnings.append(f"{call.source}: {solver.name} ignores option {name}={value!r}, as in torchdiffeq")
    if overridden and not solver.adaptive:
        # The settings of another method's iterations mean nothing to this one.
        taken = {name: value for name, value in taken.items() if name not in solver.option_names()}
    return taken, warnings


def has_norm(call: Call, *, overridden: bool) -> bool:
    """Whether errors are measured by a function of the user's, which another method does without."""
    return not overridden and (call.options or {}).get("norm") is not None


def _taken(name: str, value: Any, where: str) -> dict[str, Any]:
    """An option as its setting has it; nothing where the default stays."""
    if name in ("interp", "solver"):
        return {name: value}
    if name in ("perturb", "implicit"):
        return {name: bool(value)}
    if value is None and name in ("first_step", "max_num_steps", "step_size"):
        return {name: None}
    number = _number(name, value, where)
    whole = name in ("max_num_steps", "max_order", "max_iters")
    return {name: int(number) if whole else number}


def _number(name: str, value: Any, where: str) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = _concrete(name, value, where)
    if not isinstance(value, numbers.Real):
        raise CaptureError(where + f"option {name}={value!r} must be a number")
    return float(value)


def _time_dtype(value: Any, where: str) -> str:
    """The dtype of times: at least float32, as that of any state."""
    if value not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise CaptureError(where + f"option dtype={value!r} must be a floating-point torch dtype")
    return "float64" if value is torch.float64 else "float32"


def read_tolerance(name: str, value: Any, parts: int | None, where: str) -> Tolerance:
    """A tolerance: a number, or one for each part of a tuple state. parts: None for a state that is one tensor.

    A row of one number for a state of one tensor is no plain number: torchdiffeq then takes error ratios in
    float64. It rounds the numbers of a row for a tuple to float32.
    """
    row = _row(name, value, where)
    if row is None:
        if not isinstance(value, torch.Tensor) and not isinstance(value, numbers.Real):
            raise CaptureError(where + f"{name}={value!r} must be a number, or one for each part of the state")
        return float(_concrete(name, value, where) if isinstance(value, torch.Tensor) else value)
    if len(row) != (parts or 1):
        raise CaptureError(
            where + f"{name} has {len(row)} numbers for a state of {parts or 1} parts; give one number for each part, "
            f"or one for all with --{name}"
        )
    return tuple(float(x) if exact or parts is None else float(np.float32(x)) for x, exact in row)


def _row(name: str, value: Any, where: str) -> list[tuple[float, bool]] | None:
    """The numbers of a row, each with whether it is a float64 tensor; None for a plain number."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if value.ndim == 0:
            return None
        exact = value.dtype in (torch.float64, np.float64)
        return [(_concrete(name, x, where), exact) for x in value.reshape(-1)]
    if not isinstance(value, (list, tuple)):
        return None
    numbers_ = [_concrete(name, x, where) if isinstance(x, torch.Tensor) and x.numel() == 1 else x for x in value]
    if not all(isinstance(x, numbers.Real) for x in numbers_):
        raise CaptureError(
            where + f"{name}={value!r}: a tolerance for each element of the state cannot be exported; give one number "
            "for each part"
        )
    return [(float(x), getattr(old, "dtype", None) is torch.float64) for x, old in zip(numbers_, value, strict=True)]


def _concrete(name: str, value: Any, where: str) -> Any:
    try:
        return value.item()
    except Exception:
        raise CaptureError(
            where + f"{name} is computed from the model's inputs; it must be a number when the model is exported"
        ) from None
