"""The loop outside: pull steps from a stepper until the last output time is read out.

The law here: time and control are Python floats, states are the stepper's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from odelet.attempt import begin
from odelet.backend import NUMPY, SCALARS
from odelet.control import Control, clamp, judge
from odelet.dense import quartic
from odelet.errors import InputError
from odelet.rk import Field
from odelet.solution import Status
from odelet.state import Layout

Array = np.ndarray[Any, Any]
DEFAULT_MAX_STEPS = 100_000


class Ends(NamedTuple):
    """The accepted step: states (1, n) at both ends, and for an adaptive method the middle and the slopes."""

    y0: Array
    y1: Array
    mid: Array | None = None
    k0: Array | None = None
    k1: Array | None = None


class Stepper(Protocol):
    """Holds the state of a solve and attempts steps."""

    def attempt(self, t: float, h: float) -> float:
        """Try the step from t of signed length h; return the error ratio."""

    def accept(self) -> None:
        """Move to the end of the attempted step."""

    def ends(self) -> Ends:
        """The step last accepted; valid until the next attempt."""


class Run(NamedTuple):
    """rows: the state at each output time, (times, n); NaN after a failure. time: reached."""

    rows: Array
    status: Status
    time: float
    steps: int
    accepted: int


def direction_of(t: Array, name: str = "t") -> float:
    """1 or -1. Raises InputError unless t is a 1-D row of finite, strictly monotone times."""
    if t.ndim != 1 or t.size == 0:
        raise InputError(f"{name} must be a 1-D array of at least one time; got shape {t.shape}")
    if not np.isfinite(t).all():
        raise InputError(f"{name} holds times that are not finite: {t}")
    gaps = np.diff(t)
    if not ((gaps > 0).all() or (gaps < 0).all()):
        raise InputError(f"{name} must be strictly increasing or strictly decreasing; got {t}")
    return -1.0 if gaps.size and gaps[0] < 0 else 1.0


def solve_adaptive(
    field: Field,
    stepper_of: Callable[[Array], Stepper],
    y0: Array,
    t: Array,
    *,
    order: int,
    control: Control,
    rtol: float,
    atol: float,
    layout: Layout,
    direction: float,
    max_steps: int,
) -> Run:
    """Find the first slope and step, and integrate.

    field: dy/dt on rows (1, n). stepper_of: makes the stepper, given the first slope (1, n).
    """
    with np.errstate(all="ignore"):
        k0, h = begin(
            field,
            np.float64(t[0]),
            y0,
            order=order,
            control=control,
            rtol=rtol,
            atol=atol,
            layout=layout,
            direction=direction,
            xp=NUMPY,
        )
    first = float(h) if h is not None else float(control.first_step or 0)
    return integrate_adaptive(
        stepper_of(k0), y0, first, t, direction=direction, order=order, control=control, max_steps=max_steps
    )


def integrate_adaptive(
    stepper: Stepper,
    y0: Array,
    h: float,
    t: Array,
    *,
    direction: float,
    order: int,
    control: Control,
    max_steps: int,
) -> Run:
    """Solve with error control and read the states at the times t off the accepted steps.

    y0: (1, n). h: length of the first step. Steps do not stop at output times and go past the last one, as
    in torchdiffeq. Stops early, with a status, when max_steps attempts (in all) or control.max_num_steps
    (since the last output time) were made, when a step no longer moves time, or at a NaN.
    """
    rows = np.full((t.size, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    if not np.isfinite(y0).all():
        return Run(rows, Status.NOT_FINITE, float(t[0]), 0, 0)
    forward = [direction * float(time) for time in t]
    start = now = forward[0]
    h = clamp(h, control=control, xp=SCALARS)
    taken = 0.0
    steps = accepted = 0
    for j, target in enumerate(forward[1:], 1):
        limit = min(max_steps, steps + control.max_num_steps)
        while target > now:
            status = _obstacle(now, h, steps, limit)
            if status is not None:
                return Run(rows, status, direction * now, steps, accepted)
            ratio = stepper.attempt(direction * now, direction * h)
            steps += 1
            verdict = judge(h, ratio, order=order, control=control, xp=SCALARS)
            if verdict.accept:
                stepper.accept()
                accepted += 1
                start, now, taken = now, now + h, h
            h = verdict.h
        rows[j] = _read(stepper.ends(), (target - start) / (now - start), direction * taken)
    status = Status.OK if np.isfinite(rows).all() else Status.NOT_FINITE
    return Run(rows, status, direction * now, steps, accepted)


def _obstacle(now: float, h: float, steps: int, limit: int) -> Status | None:
    """Why the next step cannot be attempted, or None."""
    if h != h:
        return Status.NOT_FINITE
    if not now + h > now or h == float("inf"):
        return Status.STEP_UNDERFLOW
    return Status.STEP_LIMIT if steps >= limit else None


def _read(ends: Ends, x: float, h: float) -> Array:
    y0, y1, mid, k0, k1 = ends
    assert mid is not None and k0 is not None and k1 is not None
    number = y1.dtype.type
    with np.errstate(all="ignore"):
        return quartic(number(x), number(h), y0, y1, mid, k0, k1)[0]  # type: ignore[no-any-return]


def solution_arrays(rows: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Rows (times, n) to one array (times, *shape) for each part of the state."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    pieces = np.split(rows, ends, axis=1)
    return [piece.reshape(len(rows), *shape) for piece, shape in zip(pieces, shapes, strict=True)]
