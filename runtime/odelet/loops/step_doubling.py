"""The loop of an SDE with error control: a step is compared with two of half its length along the same Brownian path.

Source: torchsde 0.2.6, `base_solver.py` and `adaptive_stepping.py`, whose tries and accepted steps this loop repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import Any, Protocol

import numpy as np

from odelet.loops.brownian import BrownianPath
from odelet.loops.limits import Limits
from odelet.loops.recorder import AttemptedStep, Recording
from odelet.loops.run import SolveRun, rows_from
from odelet.loops.trajectory import StepEnds, Time
from odelet.methods.sde import Increment, SdeMethod, SdeStep
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.control import StepDoubling
from odelet.numerics.interpolation import linear
from odelet.status import Status


class SdeStepper(Protocol):
    """Takes the steps of an SDE from states that it is given. States are rows (1, n)."""

    def begin(self, t: Time, y: NumpyArray) -> tuple[NumpyArray, ...]:
        """The memory that the first step receives."""

    def advance(self, y: NumpyArray, memory: tuple[NumpyArray, ...], t: Time, t1: Time, noise: Increment) -> SdeStep:
        """The step from t to t1 along an increment of the path. memory: that of the step before."""


class DoublingSolve:
    """A solve under way: its time and state, its counts, and the last accepted step, which output times are read off.

    largest: the largest error ratio of an accepted step. recording: receives the tries, or None.
    """

    def __init__(
        self,
        stepper: SdeStepper,
        path: BrownianPath,
        y0: NumpyArray,
        t0: Time,
        end: Time,
        control: StepDoubling,
        recording: Recording | None,
    ) -> None:
        self._stepper, self._path, self._control, self._recording = stepper, path, control, recording
        # Times are Python floats in place of float64, as they are many times faster than numpy's scalars.
        self._number: Callable[[Any], Time] = np.float32 if isinstance(t0, np.float32) else float
        self.start = self.now = self._number(t0)
        self.y0 = self.y1 = y0
        self._end, self._step = self._number(end), float(control.dt)
        self._before: float | None = None
        self._memory = stepper.begin(self.now, y0)
        self.steps = self.accepted = 0
        self.largest = 0.0

    def attempt(self) -> Status:
        """Try a step. Returns OK, or the status that says why the solve cannot go on."""
        now, control, stepper, path = self.now, self._control, self._stepper, self._path
        end = min(now + self._number(self._step), self._end)
        if not end > now:
            return Status.STEP_UNDERFLOW
        one = stepper.advance(self.y1, self._memory, now, end, path.increment(now, end))
        middle, two = self._number(0.5) * (now + end), one
        # A step as short as a rounding error has no middle. torchsde divides by the length 0 of a half there.
        if now < middle < end:
            half = stepper.advance(self.y1, self._memory, now, middle, path.increment(now, middle))
            two = stepper.advance(half.y1, half.memory, middle, end, path.increment(middle, end))
        ratio = control.error_ratio(one.y1, two.y1, xp=NUMPY)
        self.steps += 1
        if isnan(ratio):
            self._record(now, end, ratio, accepted=False)
            return Status.NOT_FINITE
        self._step, self._before = control.next_step(self._step, ratio, self._before)
        accepted = ratio <= 1 or self._step <= control.dt_min
        if accepted:
            self.start, self.now, self.y0, self.y1, self._memory = now, end, self.y1, two.y1, two.memory
            self.accepted, self.largest = self.accepted + 1, max(self.largest, ratio)
            path.forget(end)
        self._record(now, end, ratio, accepted=accepted)
        return Status.OK

    def _record(self, start: Time, end: Time, ratio: float, *, accepted: bool) -> None:
        if self._recording is None:
            return
        self._recording.attempts.append(AttemptedStep(float(start), float(end - start), float(ratio), accepted))
        if accepted:
            self._recording.add(start, end, end - start, StepEnds(self.y0, self.y1))

    def read(self, t: Time) -> NumpyArray:
        """The state (n,) at a time within the last accepted step, on the straight line between its ends."""
        share = self.y1.dtype.type((self._number(t) - self.start) / (self.now - self.start))
        state: NumpyArray = linear(share, self.y0, self.y1)[0]
        return state


def solve_by_doubling(
    stepper: SdeStepper,
    path: BrownianPath,
    y0: NumpyArray,
    t: NumpyArray,
    *,
    method: SdeMethod,
    control: StepDoubling,
    limits: Limits,
    recording: Recording | None = None,
) -> SolveRun:
    """Solve from y0 (1, n) with error control, and read the states at the increasing times t (times,).

    The steps of the result are the tries, each of which takes three steps of the method. recording: receives the tries.
    Stops early, with a status, at a limit, when a step no longer moves time, or when an error ratio is NaN. The states
    after that are NaN; after max_evals or the deadline they are instead the last state that was reached. The result's
    error_ratio, of a solve that reached its end, is the largest of an accepted step; it is above 1 where a step of the
    least length was accepted.
    """
    rows = rows_from(y0, t.size)

    def evaluations(steps: int) -> int:
        return 3 * method.drifts * steps + method.remembers

    if not np.isfinite(y0).all():
        return SolveRun(rows=rows, status=Status.NOT_FINITE, time=float(t[0]), steps=0, accepted=0, evaluations=0)
    with np.errstate(all="ignore"):
        solve = DoublingSolve(stepper, path, y0, t[0], t[-1], control, recording)
        status, read = Status.OK, 1
        while read < t.size and status is Status.OK:
            if t[read] <= solve.now:
                rows[read] = solve.read(t[read])
                read += 1
                continue
            status = Status.STEP_LIMIT if solve.steps >= limits.max_steps else Status.OK
            if status is Status.OK:
                done = evaluations(solve.steps)
                cost = evaluations(solve.steps + 1) - done
                status = limits.exceeded(done, cost, steps=solve.steps, time=float(solve.now))
            status = solve.attempt() if status is Status.OK else status
    if status.from_outside:
        rows[read:] = solve.y1
    if status is Status.OK and not np.isfinite(rows).all():
        status = Status.NOT_FINITE
    return SolveRun(
        rows=rows,
        status=status,
        time=float(solve.now),
        steps=solve.steps,
        accepted=solve.accepted,
        evaluations=evaluations(solve.steps),
        error_ratio=(solve.largest,) if status is Status.OK and solve.accepted else None,
    )
