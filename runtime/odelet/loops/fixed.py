"""The loop of fixed steps: step along a grid, and read the output times off the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from odelet.errors import InputError
from odelet.loops.limits import Limits
from odelet.loops.run import SolveRun, rows_from
from odelet.loops.trajectory import DenseStep, StepEnds, Time, Trajectory
from odelet.methods.method import Method
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.grid import MOST_STEPS, Grid, is_valid_grid
from odelet.numerics.interpolation import hermite, linear
from odelet.status import Status

# The field as a function on rows: it takes a time and a row (1, n), and returns dy/dt, a row (1, n).
Slope = Callable[[Time, NumpyArray], NumpyArray]

NO_LIMITS = Limits()


class FixedStepper(Protocol):
    """Holds the state of a solve and takes steps."""

    def step(self, t: float, t1: float) -> tuple[int, bool]:
        """Take the step from t to t1; return the number of evaluations of the field, and whether an iteration inside
        the step failed to converge."""

    def ends(self) -> StepEnds:
        """The states and slopes of the step that was taken last; valid until the next step."""


def solve_on_grid(
    stepper: FixedStepper,
    slope: Slope,
    method: Method,
    y0: NumpyArray,
    t: NumpyArray,
    points: NumpyArray,
    *,
    grid: Grid,
    direction: float,
    limits: Limits = NO_LIMITS,
    trajectory: Trajectory | None = None,
) -> SolveRun:
    """Step along the points (steps + 1,) and read the states at the times t (times,).

    y0: (1, n). slope: the field, called where states are read off cubics. trajectory: receives the steps; cubics then
    call the slope for each step. The status is NOT_FINITE when a state that was read is infinite or NaN; the time
    reached is then the last output time before it. After a limit the states are the last that was reached.
    """
    rows = rows_from(y0, t.size)
    cubic, limited = grid.reads_cubics, limits != NO_LIMITS
    status, j, calls, failures, steps = Status.OK, 1, 0, 0, 0
    for start, end in zip(points[:-1], points[1:], strict=True):
        if limited:
            status = limits.exceeded(calls, method.evaluations or 1, steps=steps, time=float(start))
        if status is not Status.OK:
            rows[j:] = stepper.ends().y1 if steps else y0
            break
        step_calls, failed = stepper.step(start, end)
        calls, failures, steps = calls + step_calls, failures + failed, steps + 1
        if trajectory is not None:
            y1, k0, k1 = stepper.ends().y1.copy(), None, None
            if cubic:
                k0, k1 = np.array(stepper.ends().k0), np.asarray(slope(end, y1))
                calls += 1
            ends = StepEnds(stepper.ends().y0.copy(), y1, None, k0, k1)
            trajectory.append(DenseStep(direction * start, direction * end, direction * end, end - start, ends))
        while j < t.size and direction * end >= direction * t[j]:
            ends = stepper.ends()
            x, h = ends.y1.dtype.type((t[j] - start) / (end - start)), ends.y1.dtype.type(end - start)
            with np.errstate(all="ignore"):
                if cubic:
                    rows[j] = hermite(x, h, ends.y0, ends.y1, ends.k0, slope(end, ends.y1))[0]
                    calls += 1
                else:
                    rows[j] = linear(x, ends.y0, ends.y1)[0]
            j += 1
    time = t[-1] if status is Status.OK else points[steps]
    finite = np.isfinite(rows).all(axis=1)
    if status is Status.OK and not finite.all():
        status, time = Status.NOT_FINITE, t[max(int(np.argmin(finite)) - 1, 0)]
    return SolveRun(
        rows=rows,
        status=status,
        time=float(time),
        steps=steps,
        accepted=steps,
        evaluations=calls,
        unconverged=failures if method.iterates else None,
    )


def grid_points(
    grid: Grid, t: NumpyArray, direction: float, constructed: NumpyArray | None, *, strict: bool
) -> NumpyArray:
    """The ends of the steps of a solve over the times t, (steps + 1,), in the dtype of t.

    constructed: the points, where the model constructs its grid. strict: whether repeated points are refused, as they
    are for methods that remember slopes. Raises InputError for constructed points that do not fit, and for a step_size
    that is too small for the times.
    """
    sign = t.dtype.type(direction)
    if grid.step_size is not None:
        with np.errstate(over="ignore"):
            count = abs(float(t[-1]) - float(t[0])) / grid.step_size
        if count > MOST_STEPS:
            raise InputError(
                f"step_size={grid.step_size:g} takes {count:.3g} steps from t={t[0]:g} to t={t[-1]:g}, and a solve "
                f"takes at most {MOST_STEPS:,}; choose longer steps, or times that are closer together"
            )
    if constructed is not None:
        good = constructed.ndim == 1 and constructed.size > 0 and constructed.dtype == t.dtype
        if not good or not is_valid_grid(constructed, t, direction=sign, strict=strict, xp=NUMPY):
            order = "strictly monotone" if strict else "monotone"
            raise InputError(
                f"grid_constructor returned {constructed.dtype} {constructed}; it must be a 1-D {t.dtype} grid, "
                f"{order}, that starts at t[0]={t[0]!r} and ends at t[-1]={t[-1]!r}"
            )
    return np.asarray(grid.points(t, direction=sign, xp=NUMPY, constructed_points=constructed))
