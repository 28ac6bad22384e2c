"""The loop outside: pull steps from a stepper until the last output time is read out.

The law here: times and control are Python floats (numpy float32 where times are float32), states are the
stepper's business.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np

from odelet.errors import InputError
from odelet.loops.trajectory import BatchedReader, DenseStep, StepEnds
from odelet.numerics.backend import SCALARS, NumpyArray
from odelet.numerics.control import Control, clamp, judge, stop_at
from odelet.status import Status

DEFAULT_MAX_STEPS = 100_000


class AdaptiveStepper(Protocol):
    """Holds the state of an adaptive solve and attempts steps. Times and lengths are signed, as in the model."""

    def begin(self, t: float) -> None:
        """Evaluate the first slope, at time t."""

    def first_length(self, t: float) -> float:
        """Estimate the length of the first step; call `begin` before."""

    def attempt(self, t: float, t1: float, h: float) -> float:
        """Try the step from t to t1, of length h; return the error ratio."""

    def accept(self, jump: float | None) -> None:
        """Move to the end of the attempted step; at a jump of the field, the time of it, take the slope anew."""

    def restart(self, t: float, y: NumpyArray) -> None:
        """Go on from another state, a row (1, n), with its slope."""

    def ends(self) -> StepEnds:
        """The step last accepted; valid until the next attempt."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When to give up. max_steps: attempted in all. max_evals: calls of the field, or None. deadline: the
    value of `time.perf_counter()` when a call must end, or None."""

    max_steps: int = DEFAULT_MAX_STEPS
    max_evals: int | None = None
    deadline: float | None = None


@dataclass(frozen=True, kw_only=True)
class Points:
    """Times at which steps end: step_t, and jump_t where the field may also jump."""

    step_t: Sequence[float] = ()
    jump_t: Sequence[float] = ()


class AdaptiveRun(NamedTuple):
    """rows: the state at each output time, (times, n); NaN after a failure. time: reached."""

    rows: NumpyArray
    status: Status
    time: float
    steps: int
    accepted: int
    evaluations: int | None = None


def direction_of(t: NumpyArray, name: str = "t") -> float:
    """1 or -1. Raises InputError unless t is a 1-D row of finite, strictly monotone times."""
    if t.ndim != 1 or t.size == 0:
        raise InputError(f"{name} must be a 1-D array of at least one time; got shape {t.shape}")
    if not np.isfinite(t).all():
        raise InputError(f"{name} holds times that are not finite: {t}")
    gaps = np.diff(t)
    if not ((gaps > 0).all() or (gaps < 0).all()):
        raise InputError(f"{name} must be strictly increasing or strictly decreasing; got {t}")
    return -1.0 if gaps.size and gaps[0] < 0 else 1.0


class AdaptiveSolve:
    """A solve with error control under way: where it is, and what it takes to go on.

    Steps do not stop at output times and go past the last one, as in torchdiffeq. `time` is the end of the last
    accepted step; steps, accepted: counts; evaluations: calls of the field.
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
        self._stepper, self._direction, self._order, self._control = stepper, direction, order, control
        self._limits = limits
        self._number: Any = np.float32 if control.dtype == "float32" else float
        # Floats, of numpy or Python.
        self._now: Any = self._number(direction * t0)
        self._start, self._taken = self._now, self._number(0)
        self._past: Sequence[Any] = [self._number(1)] * control.memory
        self._cost = calls
        self.steps = self.accepted = 0
        self._step_t, self._step_i = self._sorted(points.step_t)
        self._jump_t, self._jump_i = self._sorted(points.jump_t)
        ahead = [time for time in (*self._step_t, *self._jump_t) if self._now <= time < inf]
        if len(set(ahead)) < len(ahead):
            raise InputError("step_t and jump_t must have no time twice, in one of them or in both")
        self._begin()

    def _sorted(self, times: Sequence[float]) -> tuple[list[float], int]:
        """The points in the order of the solve, and the index of the next; infinity stands for none."""
        forward = sorted(self._number(self._direction * time) for time in times) or [self._number(inf)]
        return forward, min(bisect_right(forward, self._now), len(forward) - 1)

    def _begin(self) -> None:
        self.evaluations = 1
        self._stepper.begin(self._direction * self._now)
        first = self._control.first_step
        if first is None:
            self.evaluations += 1
            first = self._stepper.first_length(self._direction * self._now)
        self._h = clamp(self._number(first), control=self._control, xp=SCALARS)

    @property
    def number(self) -> Any:
        """The type of times."""
        return np.float32 if self._number is np.float32 else np.float64

    @property
    def time(self) -> float:
        return float(self._direction * self._now)

    @property
    def now(self) -> Any:
        """`time` as it runs forward."""
        return self._now

    def forward(self, t: NumpyArray) -> NumpyArray:
        """Times as they run forward, in the solver's type."""
        return np.asarray(self._direction * t, self.number)

    def advance(self, target: float) -> Status:
        """Step until `target` is reached. Returns OK, or why it stopped before."""
        return self._until(self._number(self._direction * target), self.steps)

    def step(self, since: int) -> Status:
        """Take one accepted step. since: the count of steps when the last output time was reached."""
        return self._until(np.nextafter(self._now, self._number(inf)), since)

    def restart(self, time: float, y: NumpyArray) -> None:
        """Go on from another state, a row (1, n), at a time not after the present one, with steps as long as before."""
        self._stepper.restart(time, y)
        self.evaluations += 1
        # What a step that was cut short says about growth is not known.
        self._h = min(self._h, self._taken)
        self._start = self._now = self._number(self._direction * time)
        self._step_i, self._jump_i = (
            min(bisect_right(times, self._now), len(times) - 1) for times in (self._step_t, self._jump_t)
        )

    def _until(self, goal: Any, since: int) -> Status:
        stepper, direction, control = self._stepper, self._direction, self._control
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
            verdict = judge(h, ratio, self._past, order=self._order, control=control, xp=SCALARS)
            if verdict.accept:
                stepper.accept(direction * end if on_jump else None)
                self.accepted += 1
                self._start, self._now, self._taken = now, end, h
                if cut:
                    self._pass(on_step and not on_jump, on_jump)
            self._h, self._past = verdict.h, verdict.past
        return Status.OK

    def _pass(self, on_step: bool, on_jump: bool) -> None:
        """Go on to the next point. A point that a step ends at by chance stays the next one, as in torchdiffeq."""
        if on_step:
            self._step_i = min(self._step_i + 1, len(self._step_t) - 1)
        if on_jump:
            self._jump_i = min(self._jump_i + 1, len(self._jump_t) - 1)
            self.evaluations += 1

    def _obstacle(self, limit: int) -> Status:
        """Why the next step cannot be attempted, or OK."""
        h, limits = self._h, self._limits
        if h != h:
            return Status.NOT_FINITE
        if not self._now + h > self._now or h == inf:
            return Status.STEP_UNDERFLOW
        if self.steps >= limit:
            return Status.STEP_LIMIT
        if limits.max_evals is not None and self.evaluations + self._cost > limits.max_evals:
            return Status.EVALUATION_LIMIT
        late = limits.deadline is not None and perf_counter() >= limits.deadline
        return Status.DEADLINE if late else Status.OK

    def piece(self) -> DenseStep:
        """A copy of the step last accepted."""
        y0, y1, mid, k0, k1 = self._stepper.ends()
        assert mid is not None and k0 is not None and k1 is not None
        return self._piece(StepEnds(y0.copy(), y1.copy(), mid.copy(), k0.copy(), k1.copy()))

    def _piece(self, ends: StepEnds) -> DenseStep:
        return DenseStep(self._start, self._now, self._now, self._direction * self._taken, ends)

    def last(self) -> NumpyArray | None:
        """The state (n,) at `time`, or None before the first accepted step."""
        return self._stepper.ends().y1[0].copy() if self.accepted else None


def solve_adaptive(solve: Callable[[], AdaptiveSolve], y0: NumpyArray, t: NumpyArray) -> AdaptiveRun:
    """Solve with error control and read the states at the times t off the accepted steps.

    solve: begins the solve. y0: (1, n). Stops early, with a status, when a limit is reached, when a step no
    longer moves time, or at a NaN. The states after that are NaN; those of a solve that was told to stop in
    time (max_evals, deadline) are the last one reached.
    """
    rows = np.full((t.size, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    if not np.isfinite(y0).all():
        return AdaptiveRun(rows, Status.NOT_FINITE, float(t[0]), 0, 0)
    return continue_to(solve(), y0, t[1:], rows)


def continue_to(under_way: AdaptiveSolve, y0: NumpyArray, t: NumpyArray, rows: NumpyArray) -> AdaptiveRun:
    """As `integrate_adaptive`, from where a solve is to later times t. rows: to fill, the last of them with the states
    there. y0: (1, n), the state at the start."""
    status, readings = Status.OK, BatchedReader(rows)
    forward = under_way.forward(t)
    done, before = 0, len(rows) - len(t)
    while done < len(t):
        status = under_way.advance(t[done])
        if status is not Status.OK:
            break
        # All that the step holds.
        held = int(np.searchsorted(forward, under_way.now, side="right"))
        readings.add(under_way.piece(), forward[done:held], slice(before + done, before + held))
        done = held
    readings.finish()
    if status in (Status.EVALUATION_LIMIT, Status.DEADLINE):
        last = under_way.last()
        rows[before + done :] = y0[0] if last is None else last
    if status is Status.OK and not np.isfinite(rows).all():
        status = Status.NOT_FINITE
    return AdaptiveRun(rows, status, under_way.time, under_way.steps, under_way.accepted, under_way.evaluations)


def solution_arrays(rows: NumpyArray, shapes: Sequence[tuple[int, ...]]) -> list[NumpyArray]:
    """Rows (times, n) to one array (times, *shape) for each part of the state."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    pieces = np.split(rows, ends, axis=1)
    return [piece.reshape(len(rows), *shape) for piece, shape in zip(pieces, shapes, strict=True)]
