"""Reads the options and tolerances of a call of torchdiffeq as settings of odelet's solvers."""

from __future__ import annotations

import numbers
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch

from odelet.methods.method import Method
from odelet.numerics.control import Control
from odelet_intercept.call import Call
from odelet_intercept.errors import CaptureError

Tolerance = float | tuple[float, ...] | None  # one number for the whole state, or one for each of its parts

# Options whose values the model may compute.
POINTS = ("step_t", "jump_t")
# Options of one number that the model may compute.
LENGTHS = ("first_step", "step_size")
_CONTROL = tuple(f.name for f in fields(Control) if f.name not in ("controller", "dtype"))


class _Options(NamedTuple):
    """The options of one kind of method. taken: the options that become settings. dropped: the options that torchdiffeq
    ignores in silence."""

    taken: tuple[str, ...]
    dropped: tuple[str, ...]


_ADAPTIVE = _Options(_CONTROL, ())
_FIXED = _Options(("step_size", "interp", "perturb"), ("norm",))
_OUTSIDE = _Options((), ("norm", "grid_points", "eps"))  # SciPy takes the steps


def read_options(call: Call, where: str, solver: Method, *, overridden: bool) -> tuple[dict[str, Any], list[str]]:
    """The options of a call that its method takes, by the names of settings, and warnings.

    where: the start of an error message. solver: the method that the export uses. overridden: whether the export
    replaces the method of the call. Options of another kind of method are dropped with a warning, as in torchdiffeq.
    Options whose values the model computes (step_t, jump_t, a grid, a length) are read elsewhere; `constructed` says
    that there is a grid, or that the length of its steps is computed. Raises CaptureError for an option that cannot be
    exported.
    """
    options = _ADAPTIVE if solver.adaptive else _FIXED if solver.fixed else _OUTSIDE
    setting_names = (*options.taken, *solver.option_names())
    settings: dict[str, Any] = {}
    warnings = []
    for name, value in (call.options or {}).items():
        if name == "norm" and solver.adaptive and not overridden and not (value is None or callable(value)):
            raise CaptureError(where + f"option norm={value!r} must be a function of the state")
        if solver.adaptive and name in (*POINTS, "norm"):
            continue
        if solver.adaptive and name == "dtype":
            settings[name] = "float64" if value is None else _time_dtype(value, where)
        elif name in setting_names and name in LENGTHS and is_computed(value):
            settings |= {name: None} | ({"constructed": True} if name == "step_size" else {})
        elif name in setting_names:
            settings |= _setting(name, value, where)
        elif solver.fixed and name == "grid_constructor":
            settings["constructed"] = value is not None or settings.get("constructed", False)
        elif not overridden and name not in options.dropped:
            warnings.append(f"{call.source}: {solver.name} ignores option {name}={value!r}, as in torchdiffeq")
    if overridden and not solver.adaptive:
        # Settings of the iterations of the call's own method mean nothing to another method.
        settings = {name: value for name, value in settings.items() if name not in solver.option_names()}
    return settings, warnings


def is_computed(value: Any) -> bool:
    """Whether a number is one that the model computes from its inputs, so that a trace knows no number for it."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        try:
            value = value.item()  # a watch over a trace gives a tensor here
        except Exception:  # a tracer without a watch raises errors of many classes
            return True
    return isinstance(value, (torch.Tensor, torch.SymInt, torch.SymFloat))


def has_norm(call: Call, *, overridden: bool) -> bool:
    """Whether a function of the user's measures errors. A norm that belongs to an overridden method does not count."""
    return not overridden and (call.options or {}).get("norm") is not None


def _setting(name: str, value: Any, where: str) -> dict[str, Any]:
    """The setting that an option stands for, by its name."""
    if name in ("interp", "solver"):
        return {name: value}
    if name in ("perturb", "implicit"):
        return {name: bool(value)}
    if value is None and name in ("first_step", "max_num_steps", "step_size"):
        return {name: None}
    whole = name in ("max_num_steps", "max_order", "max_iters")
    if whole and is_computed(value):
        return {name: int(value)}  # a watch over a trace gives the number of the example, and keeps note of it
    number = _number(name, value, where)
    return {name: int(number) if whole else number}


def _number(name: str, value: Any, where: str) -> float:
    if is_computed(value):
        raise CaptureError(
            where + f"option {name} is computed from the model's inputs; it must be a number when the model is exported"
        )
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = _concrete(name, value, where)
    if not isinstance(value, numbers.Real):
        raise CaptureError(where + f"option {name}={value!r} must be a number")
    return float(value)


def _time_dtype(value: Any, where: str) -> str:
    """The name of the dtype of times, which is at least float32, as is the dtype of any state."""
    if value not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise CaptureError(where + f"option dtype={value!r} must be a floating-point torch dtype")
    return "float64" if value is torch.float64 else "float32"


def read_tolerance(name: str, value: Any, parts: int | None, where: str) -> Tolerance:
    """A tolerance as one number, or as one number for each part of the state.

    name: rtol or atol. parts: how many tensors a tuple state has; None for a state that is one tensor. where: the start
    of an error message. For a state of one tensor, a row of one number is not the same as that number: torchdiffeq then
    takes error ratios in float64. torchdiffeq rounds the tolerances of a tuple state to float32, and so does this
    function. Raises CaptureError for a tolerance of another length, or for one that is no number at export.
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
    """The numbers of a row, each with a bool, whether it came as float64; None for a plain number."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if value.ndim == 0:
            return None
        exact = value.dtype in (torch.float64, np.float64)
        return [(_concrete(name, x, where), exact) for x in value.reshape(-1)]
    if not isinstance(value, (list, tuple)):
        return None
    row = [_concrete(name, x, where) if isinstance(x, torch.Tensor) and x.numel() == 1 else x for x in value]
    if not all(isinstance(x, numbers.Real) for x in row):
        raise CaptureError(
            where + f"{name}={value!r}: a tolerance for each element of the state cannot be exported; give one number "
            "for each part"
        )
    return [(float(x), getattr(old, "dtype", None) is torch.float64) for x, old in zip(row, value, strict=True)]


def _concrete(name: str, value: Any, where: str) -> Any:
    """The number in a tensor of one element. Raises CaptureError for a tensor that the trace computes."""
    try:
        return value.item()
    except Exception:
        raise CaptureError(
            where + f"{name} is computed from the model's inputs; it must be a number when the model is exported"
        ) from None
