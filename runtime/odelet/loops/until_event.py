"""The loops of solves that end at an event of the model's own, which they find as torchdiffeq's `odeint_event` does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from odelet.loops.adaptive import AdaptiveSolve, not_begun
from odelet.loops.fixed import NO_LIMITS, FixedStepper
from odelet.loops.limits import Limits
from odelet.loops.run import SolveRun, rows_from
from odelet.loops.trajectory import Time
from odelet.methods.method import Method
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.events import MOST_FIXED_STEPS, bisect, combine_events
from odelet.numerics.interpolation import linear
from odelet.status import Status

# The event functions as one function: it takes a signed time and a row (1, n), and returns their values (events,).
EventFunction = Callable[[Time, NumpyArray], NumpyArray]


def _sign_of(
    values: EventFunction, t0: Time, y0: NumpyArray, direction: float, number: Callable[[Time], Time]
) -> Callable[[Time, NumpyArray], Time]:
    """The sign of the combined events, as a function of a forward time and a row. number: makes the events' times."""
    value = combine_events(values, number(t0), y0, xp=NUMPY)

    def sign(time: Time, row: NumpyArray) -> Time:
        return np.sign(value(number(direction * time), row.reshape(1, -1)))

    return sign


def solve_until_event(
    begin: Callable[[], AdaptiveSolve], y0: NumpyArray, t: NumpyArray, values: EventFunction, *, atol: float
) -> SolveRun:
    """Solve with error control until an event function changes its sign.

    y0: (1, n). t: the start, and a time that says which way time runs. atol: how closely the time of the event is
    searched for. The rows are the states at the start and at the event.
    """
    rows = rows_from(y0, 2)
    if not np.isfinite(y0).all():
        return not_begun(rows, t[0], event_time=np.nan)
    solve = begin()
    number, direction = solve.time_type, solve.direction
    sign = _sign_of(values, t[0], y0, direction, number)
    before = sign(direction * t[0], y0)
    event_time, row = number(direction * t[0]), y0[0]
    # At a start where the function is zero, the start is the event.
    while before != 0:
        status = solve.step(0)
        if status is not Status.OK:
            return solve.run(rows, status, event_time=np.nan)
        step = solve.dense_step()
        if sign(step.end, step.ends.y1) != before:
            with np.errstate(all="ignore"):
                ends = number(step.start), number(step.end)
                event_time, row = bisect(step.read, sign, before, *ends, atol=number(atol), xp=NUMPY)
            break
    rows[1] = row
    time = float(direction * event_time)
    return solve.run(rows, _finite(rows), time=time, event_time=time)


def solve_on_grid_until_event(
    stepper: FixedStepper,
    method: Method,
    y0: NumpyArray,
    t: NumpyArray,
    values: EventFunction,
    *,
    step_size: float,
    atol: float,
    limits: Limits = NO_LIMITS,
) -> SolveRun:
    """Solve as `solve_until_event` does, by steps of one length; the state inside a step is read off a straight line.

    limits: of evaluations and time.

    Source: torchdiffeq `solvers.py::FixedGridODESolver.integrate_until_event`, with its times in the state's dtype.
    """
    number = y0.dtype.type
    direction = number(-1 if t[1] < t[0] else 1)
    now, h = number(direction * t[0]), number(step_size)
    sign = _sign_of(values, t[0], y0, direction, number)
    before = sign(now, y0)
    rows = rows_from(y0, 2)
    status, time, event_time = Status.STEP_LIMIT, np.nan, np.nan
    steps = calls = failures = 0
    while steps < MOST_FIXED_STEPS and status is Status.STEP_LIMIT:
        exceeded = limits.exceeded(calls, method.evaluations or 1, steps=steps, time=float(direction * now))
        if exceeded is not Status.OK:
            status = exceeded
            break
        end = number(now + h)
        step_calls, failed = stepper.step(direction * now, direction * end)
        steps, calls, failures = steps + 1, calls + step_calls, failures + failed
        first, last = stepper.ends()[:2]
        if sign(end, last) != before:
            read = partial(_on_line, now, end, first, last)
            with np.errstate(all="ignore"):
                forward, row = bisect(read, sign, before, now, end, atol=atol, xp=NUMPY)
            rows[1] = row[0]
            status, event_time = _finite(rows), float(direction * forward)
        now = end
    time = float(direction * now) if np.isnan(event_time) else event_time
    return SolveRun(
        rows=rows,
        status=status,
        time=time,
        steps=steps,
        accepted=steps,
        evaluations=calls,
        unconverged=failures if method.iterates else None,
        event_time=event_time,
    )


def _on_line(start: Time, end: Time, y0: NumpyArray, y1: NumpyArray, time: Time) -> NumpyArray:
    """The state (1, n) at a time of a step, on the straight line between its ends."""
    row: NumpyArray = linear(y0.dtype.type((time - start) / (end - start)), y0, y1)
    return row


def _finite(rows: NumpyArray) -> Status:
    return Status.OK if np.isfinite(rows).all() else Status.NOT_FINITE
