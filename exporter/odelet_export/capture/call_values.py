"""The tensors of a call and of its functions' results, checked, in the form in which an End marker takes them.

Each function raises CaptureError for a value that cannot be exported. where: the start of the message, with the user's
file and line. parts, state: the parts of a state, tensors of one dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from odelet_export.model.spec import SolveSpec
from odelet_intercept.call import Call
from odelet_intercept.call_options import LENGTHS
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.torchsde_calls import SdeCall


def check_call(call: Call) -> None:
    """Raise CaptureError for a call whose state or times cannot be exported, whatever they are computed from."""
    if call.entry == "mark":
        return
    if isinstance(call, SdeCall) and call.y0.ndim != 2:
        raise CaptureError(call.where + f"the state of an SDE is a table (batch, channels); it has {call.y0.ndim} axes")
    state_parts(call, call.where)
    t = call_times(call, call.where)
    if call.event_fn is not None and t.shape[0] != 2:
        raise CaptureError(call.where + f"a solve until an event takes two times; got {t.shape[0]}")


def option_values(
    call: Call, spec: SolveSpec, parts: Sequence[torch.Tensor], t: torch.Tensor, where: str
) -> list[torch.Tensor]:
    """The values of the options of a call that the model computes, in the order of `spec.extras`."""
    # Where time runs backwards, torchdiffeq negates the times of the call and the options that are tensors, but not
    # those that are lists: the numbers of a list mean times of the other sign.
    forward = torch.where(t[0] > t[-1], -1.0, 1.0)
    values = []
    for name in spec.extras:
        value = (call.options or {}).get(name)
        if name == "grid":
            value = _grid(call, parts, t, where)
        elif name in LENGTHS:
            value = _length(value)
        elif not isinstance(value, torch.Tensor):
            value = torch.tensor(value, dtype=torch.float64) * forward
        values.append(value)
    return values


def _length(value: Any) -> torch.Tensor:
    """A computed length of steps as a scalar ()."""
    return value.reshape(()) if isinstance(value, torch.Tensor) else torch.full((), value, dtype=torch.float64)


def _grid(call: Call, parts: Sequence[torch.Tensor], t: torch.Tensor, where: str) -> torch.Tensor:
    """The step ends (steps + 1,) that the user's grid_constructor gives; it must not call the field."""

    def no_field(*_: Any, **__: Any) -> Any:
        raise CaptureError(
            where + "grid_constructor calls the field, which cannot be exported; compute it from y0 and t"
        )

    y0 = torch.cat([part.reshape(-1) for part in parts]) if isinstance(call.y0, tuple) else parts[0]
    grid = (call.options or {})["grid_constructor"](no_field, y0, t)
    if not isinstance(grid, torch.Tensor) or grid.ndim != 1 or grid.dtype != t.dtype:
        raise CaptureError(where + f"grid_constructor must return a 1-D {t.dtype} tensor, as t is; got {_kind(grid)}")
    return grid


def state_parts(call: Call, where: str) -> list[torch.Tensor]:
    """The parts of the initial state, promoted to one dtype as in torchdiffeq."""
    parts = list(call.y0) if isinstance(call.y0, tuple) else [call.y0]
    if not parts or not all(isinstance(part, torch.Tensor) for part in parts):
        raise CaptureError(where + f"y0 must be a tensor or a tuple of tensors; got {type(call.y0).__name__}")
    dtype = parts[0].dtype
    for part in parts[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    if dtype not in (torch.float32, torch.float64):
        advice = (
            "; solve for torch.view_as_real(y), whose last axis is the real and the imaginary part, and take "
            "torch.view_as_complex of the state in the field, and of the solution"
        )
        raise CaptureError(
            where + f"the state is {dtype}; float32 and float64 can be exported{advice if dtype.is_complex else ''}"
        )
    return [part.to(dtype) for part in parts]


def call_times(call: Call, where: str) -> torch.Tensor:
    """The call's times (times,). Raises CaptureError for anything but a 1-D float32 or float64 tensor."""
    t = call.t
    if not isinstance(t, torch.Tensor) or t.dtype not in (torch.float32, torch.float64) or t.ndim != 1:
        raise CaptureError(where + f"t must be a 1-D float32 or float64 tensor; got {_kind(t)}")
    return t


def _kind(value: object) -> str:
    """A tensor's dtype and number of axes, or the name of another value's class, for a message."""
    if isinstance(value, torch.Tensor):
        return f"a {value.dtype} tensor of {value.ndim} axes"
    return type(value).__name__


def field_slopes(slope: Any, state: Sequence[torch.Tensor], *, single: bool, where: str) -> list[torch.Tensor]:
    """The slopes that the field returned, one for each part, in the shapes and the dtype of the state.

    For a tuple state torchdiffeq flattens and joins what the field returns. One tensor in place of a tuple is therefore
    right where it has as many elements as the state.
    """
    slopes = [slope] if single or isinstance(slope, torch.Tensor) else list(slope)
    if not all(isinstance(part, torch.Tensor) for part in slopes):
        kinds = ", ".join(type(part).__name__ for part in slopes)
        raise CaptureError(where + f"the field returned {kinds}; it must return tensors")
    if single:
        return [torch.broadcast_to(slopes[0], state[0].shape).to(state[0].dtype)]
    if len(slopes) != len(state):
        slopes = _split(slopes, state, where)
    return [part.to(y.dtype).reshape(y.shape) for part, y in zip(slopes, state, strict=True)]


def _split(slopes: Sequence[torch.Tensor], state: Sequence[torch.Tensor], where: str) -> list[torch.Tensor]:
    """Slopes that do not correspond to the parts of the state, as one row of elements that is divided anew."""
    row = torch.cat([part.reshape(-1) for part in slopes])
    ends = [0]
    for y in state:
        ends.append(ends[-1] + y.numel())
    if row.numel() != ends[-1]:
        raise CaptureError(
            where + f"the field returned {len(slopes)} parts with {row.numel()} elements in all, for a state of "
            f"{len(state)} parts with {ends[-1]}"
        )
    return [row[start:end] for start, end in pairwise(ends)]


def event_values(values: Any, state: Sequence[torch.Tensor], where: str) -> torch.Tensor:
    """The values of an event function as one row (events,)."""
    if not isinstance(values, torch.Tensor) or values.is_complex():
        raise CaptureError(where + f"event_fn must return a tensor of real numbers; got {type(values).__name__}")
    real = values if values.is_floating_point() else values.to(state[0].dtype)
    return real.reshape(-1)


def norm_value(value: Any, state: Sequence[torch.Tensor], where: str) -> torch.Tensor:
    """The value of a norm as a scalar (), in the dtype of the state."""
    if not isinstance(value, torch.Tensor) or value.is_complex() or any(size != 1 for size in value.shape):
        got = _kind(value) if isinstance(value, torch.Tensor) else repr(value)
        raise CaptureError(where + f"option norm must return one real number, as a tensor; got {got}")
    return value.to(state[0].dtype).reshape(())
