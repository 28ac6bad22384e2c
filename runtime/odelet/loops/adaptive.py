"""The loop of a solve with error control: attempt steps until the last output time is read.

The law here: times and step control are Python floats (numpy float32 for float32), and states belong to the stepper.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

import numpy as np

from odelet.errors import InputError
from odelet.loops.limits import Limits
from odelet.loops.run import SolveRun, rows_from
from odelet.loops.trajectory import BatchedReader, DenseStep, StepEnds, Time
from odelet.numerics.backend import NumpyArray
from odelet.numerics.control import Control, clamp, judge, stop_at
from odelet.numerics.scalars import SCALARS
from odelet.status import Status


class AdaptiveStepper(Protocol):
    """Holds the state of an adaptive solve and attempts steps. Times and lengths are signed, as in the model."""

    def begin(self, t: float) -> None:
        """Evaluate the first slope, at time t."""

    def first_length(self, t: float) -> float:
        """Estimate the length of the first step; call `begin` before."""

    def attempt(self, t: float, t1: float, h: float) -> float:
        """Attempt the step from t to t1, of length h; return the error ratio."""

    def accept(self, jump: float | None) -> None:
        """Move to the end of the attempted step. jump: the time there if the field jumps at it, so that the slope must
        be evaluated again, or None."""

    def restart(self, t: float, y: NumpyArray) -> None:
        """Continue from another state, a row (1, n), and evaluate the slope there."""

    def ends(self) -> StepEnds:
        """The states and slopes of the step that was accepted last; valid until the next attempt."""


@dataclass(frozen=True, kw_only=True)
class Points:
    """Times at which steps end: step_t, and jump_t where the field may also jump."""

    step_t: Sequence[float] = ()
    jump_t: Sequence[float] = ()

    def forward(self, start: Time, direction: float, dtype: np.dtype[Any]) -> tuple[NumpyArray, NumpyArray]:
        """step_t and jump_t as forward times in order, each with at least one entry: infinity stands for none.

        start: the forward time at which the solve begins. Raises InputError for a time that is named twice and is not
        before the start.
        """
        step_t, jump_t = (
            np.sort(np.asarray(times, dtype) * dtype.type(direction)) if len(times) else np.array([inf], dtype)
            for times in (self.step_t, self.jump_t)
        )
        both = np.concatenate([step_t, jump_t])
        ahead = both[(both >= start) & (both < inf)]
        if len(np.unique(ahead)) < len(ahead):
            raise InputError("step_t and jump_t must have no time twice, in one of them or in both")
        return step_t, jump_t


def direction_of(t: NumpyArray, name: str = "t") -> float:
    """The direction of the times t: 1 or -1. Raises InputError unless t is 1-D, finite and strictly monotone."""
    if t.ndim != 1 or t.size == 0:
        raise InputError(f"{name} must be a 1-D array of at least one time; got shape {t.shape}")
    if not np.isfinite(t).all():
        raise InputError(f"{name} holds times that are not finite: {t}")
    gaps = np.diff(t)
    if not ((gaps > 0).all() or (gaps < 0).all()):
        raise InputError(f"{name} must be strictly increasing or strictly decreasing; got {t}")
    return -1.0 if gaps.size and gaps[0] < 0 else 1.0


class AdaptiveSolve:
    """A solve with error control under way: the time that it has reached, and all that it needs to continue.

    Steps do not stop at output times and go past the last one, as in torchdiffeq. order: the method's order. calls: the
    evaluations that one attempt takes. steps, accepted, evaluations: counts so far. direction: 1 or -1, as time runs.
    """

    def __init__(
        self,
        stepper: AdaptiveStepper,
        t0: float,
        *,
        direction: float,
        order: int,
        calls: int,
        control: Control,
        limits: Limits,
        points: Points = Points(),
    ) -> None:
        self._stepper, self.direction, self._order, self._control = stepper, direction, order, control
        self._limits = limits
        # Times are Python floats in place of float64, as they are many times faster than numpy's scalars.
        self._number: Callable[[Any], Time] = np.float32 if control.dtype == "float32" else float
        self._now: Time = self._number(direction * t0)
        self._start, self._last_h = self._now, self._number(0)
        self._past: Sequence[Time] = [self._number(1)] * control.memory
        self._cost = calls
        self.steps = self.accepted = 0
        step_t, jump_t = points.forward(self._now, direction, np.dtype(self.time_type))
        self._step_t, self._jump_t = [self._number(x) for x in step_t], [self._number(x) for x in jump_t]
        self._step_i, self._jump_i = self._next_points()
        self._begin()

    def _next_points(self) -> tuple[int, int]:
        """The indices of the next step_t and jump_t; the last of them stays the next one when all are passed."""
        step_i, jump_i = (min(bisect_right(ts, self._now), len(ts) - 1) for ts in (self._step_t, self._jump_t))
        return step_i, jump_i

    def _begin(self) -> None:
        self.evaluations = 1
        self._stepper.begin(self.direction * self._now)
        first = self._control.first_step
        if first is None:
            self.evaluations += 1
            first = self._stepper.first_length(self.direction * self._now)
        self._h = clamp(self._number(first), control=self._control, xp=SCALARS)

    @property
    def time_type(self) -> type[np.floating[Any]]:
        """The numpy type of times."""
        return np.float32 if self._number is np.float32 else np.float64

    @property
    def time(self) -> float:
        """The end of the last accepted step, signed."""
        return float(self.direction * self._now)

    @property
    def forward_time(self) -> Time:
        """The end of the last accepted step, as time runs forward."""
        return self._now

    def forward(self, t: NumpyArray) -> NumpyArray:
        """The times t as they run forward, in the type of times."""
        return np.asarray(self.direction * t, self.time_type)

    def advance(self, target: float) -> Status:
        """Step until the time `target` is reached. Returns OK, or the status with which the solve stopped before."""
        return self._until(self._number(self.direction * target), self.steps)

    def step(self, since: int) -> Status:
        """Take one accepted step. since: the count of steps when the last output time was reached."""
        return self._until(np.nextafter(self._now, self._number(inf)), since)

    def restart(self, time: float, y: NumpyArray) -> None:
        """Continue from another state (1, n), at a time not after the present one, with steps as long as before."""
        self._stepper.restart(time, y)
        self.evaluations += 1
        # The error ratio of a step that an event cut short does not tell how long the next step may be.
        self._h = min(self._h, self._last_h)
        self._start = self._now = self._number(self.direction * time)
        self._step_i, self._jump_i = self._next_points()

    def _until(self, goal: Time, since: int) -> Status:
        stepper, direction, control = self._stepper, self.direction, self._control
        limit = min(self._limits.max_steps, since + control.max_num_steps)
        cut = bool(self._step_t[-1] < inf or self._jump_t[-1] < inf)
        while goal > self._now:
            now, h = self._now, self._h
            status = self._obstacle(limit)
            if status is not Status.OK:
                return status
            end, on_step, on_jump = now + h, False, False
            if cut:
                end, h, on_step = stop_at(self._step_t[self._step_i], now, end, h, xp=SCALARS)
                end, h, on_jump = stop_at(self._jump_t[self._jump_i], now, end, h, xp=SCALARS)
            ratio = self._number(stepper.attempt(direction * now, direction * end, direction * h))
            self.steps += 1
            self.evaluations += self._cost
            decision = judge(h, ratio, self._past, order=self._order, control=control, xp=SCALARS)
            if decision.accept:
                stepper.accept(direction * end if on_jump else None)
                self.accepted += 1
                self._start, self._now, self._last_h = now, end, h
                if cut:
                    self._pass(on_step and not on_jump, on_jump)
            self._h, self._past = decision.h, decision.past
        return Status.OK

    def _pass(self, on_step: bool, on_jump: bool) -> None:
        """Make the next point the goal. A point at which a step ends by chance stays the goal, as in torchdiffeq."""
        if on_step:
            self._step_i = min(self._step_i + 1, len(self._step_t) - 1)
        if on_jump:
            self._jump_i = min(self._jump_i + 1, len(self._jump_t) - 1)
            self.evaluations += 1

    def _obstacle(self, limit: int) -> Status:
        """The status that says why the next step cannot be attempted, or OK. limit: the most steps to attempt."""
        h = self._h
        if h != h:
            return Status.NOT_FINITE
        if not self._now + h > self._now or h == inf:
            return Status.STEP_UNDERFLOW
        if self.steps >= limit:
            return Status.STEP_LIMIT
        return self._limits.exceeded(
            self.evaluations, self._cost, steps=self.steps, time=self.direction * float(self._now)
        )

    def dense_step(self) -> DenseStep:
        """A copy of the step that was accepted last, with its dense output."""
        y0, y1, mid, k0, k1 = self._stepper.ends()
        assert mid is not None and k0 is not None and k1 is not None
        ends = StepEnds(y0.copy(), y1.copy(), mid.copy(), k0.copy(), k1.copy())
        return DenseStep(self._start, self._now, self._now, self.direction * self._last_h, ends)

    def last_state(self) -> NumpyArray | None:
        """The state (n,) at `time`, or None before the first accepted step."""
        return self._stepper.ends().y1[0].copy() if self.accepted else None

    def run(
        self, rows: NumpyArray, status: Status, *, time: float | None = None, event_time: float | None = None
    ) -> SolveRun:
        """The solve so far, with the rows that were read. time: replaces the end of the last accepted step."""
        return SolveRun(
            rows=rows,
            status=status,
            time=self.time if time is None else time,
            steps=self.steps,
            accepted=self.accepted,
            evaluations=self.evaluations,
            event_time=event_time,
        )


def not_begun(rows: NumpyArray, t0: float, *, event_time: float | None = None) -> SolveRun:
    """A solve with error control that does not begin, as its first state is infinite or NaN."""
    return SolveRun(rows=rows, status=Status.NOT_FINITE, time=float(t0), steps=0, accepted=0, event_time=event_time)


def solve_adaptive(begin: Callable[[], AdaptiveSolve], y0: NumpyArray, t: NumpyArray) -> SolveRun:
    """Solve with error control and read the states at the times t off the accepted steps.

    begin: begins the solve. y0: (1, n). Stops early, with a status, when a limit is reached, when a step no longer
    moves time, or when the error ratio is NaN. The states after that are NaN; after max_evals or the deadline they are
    instead the last state that was reached.
    """
    rows = rows_from(y0, t.size)
    if not np.isfinite(y0).all():
        return not_begun(rows, t[0])
    return continue_to(begin(), y0, t[1:], rows)


def continue_to(solve: AdaptiveSolve, y0: NumpyArray, t: NumpyArray, rows: NumpyArray) -> SolveRun:
    """Continue a solve to later times t, as `solve_adaptive` does from the start.

    y0: the state at the start of the solve, (1, n). rows: the array to fill; its last `len(t)` rows receive the states
    at the times t.
    """
    status, reader = Status.OK, BatchedReader(rows)
    forward = solve.forward(t)
    read, before = 0, len(rows) - len(t)
    while read < len(t):
        status = solve.advance(t[read])
        if status is not Status.OK:
            break
        # One step may hold several output times.
        within = int(np.searchsorted(forward, solve.forward_time, side="right"))
        reader.add(solve.dense_step(), forward[read:within], slice(before + read, before + within))
        read = within
    reader.flush()
    if status.from_outside:
        last = solve.last_state()
        rows[before + read :] = y0[0] if last is None else last
    if status is Status.OK and not np.isfinite(rows).all():
        status = Status.NOT_FINITE
    return solve.run(rows, status)
