"""The loop outside, for a batch whose samples are solved each on its own.

Each sample has its own time, step length, acceptance and status, so that its steps do not depend on its batch
mates; they share the calls of the field. The law here: whatever has one number for each sample is an array
(samples,), and samples that are done leave the batch.
"""

from __future__ import annotations

from math import inf
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import Limits, Points
from odelet.loops.trajectory import StepEnds
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.control import Control, clamp, judge, stop_at
from odelet.numerics.interpolation import quartic
from odelet.status import Status

# A batch is cut down to its unfinished samples when no more than this share is left.
_WORTH_CUTTING = 0.75


class SampleStepper(Protocol):
    """Holds the states of a batch and attempts a step of each sample. Times and lengths: (samples,), signed."""

    def begin(self, t: NumpyArray) -> None:
        """Evaluate the first slopes."""

    def first_length(self, t: NumpyArray) -> NumpyArray:
        """Estimate the lengths of the first steps; call `begin` before."""

    def attempt(self, t: NumpyArray, t1: NumpyArray, h: NumpyArray) -> NumpyArray:
        """Try the steps; return the error ratios."""

    def accept(self, accepted: NumpyArray, jump: NumpyArray | None) -> None:
        """Move those samples that are True in `accepted`; jump: their times, where the slopes are to be taken anew
        of those that are not NaN."""

    def ends(self) -> StepEnds:
        """The steps last attempted, as tables (samples, n); k1 before a jump."""

    def state(self) -> NumpyArray:
        """The states, a table."""

    def keep(self, kept: NumpyArray) -> bool:
        """Go on with the samples that are True in `kept`; False if this batch cannot be cut down."""


class SampleRun(NamedTuple):
    """tables: the states at each output time, (times, samples, n); NaN after a failure. status (codes), time,
    steps, accepted: (samples,). evaluations: calls of the field, each for all samples that were left."""

    tables: NumpyArray
    status: NumpyArray
    time: NumpyArray
    steps: NumpyArray
    accepted: NumpyArray
    evaluations: int


class SampleSolve:
    """The solves of a batch under way; `held` are the samples that the stepper still has."""

    def __init__(
        self,
        stepper: SampleStepper,
        table: NumpyArray,
        t: NumpyArray,
        *,
        direction: float,
        order: int,
        calls: int,
        control: Control,
        limits: Limits,
        points: Points,
    ) -> None:
        self._stepper, self._direction, self._order, self._calls = stepper, direction, order, calls
        self._control, self._limits = control, limits
        self._dtype = np.dtype(control.dtype)
        self._forward = (direction * t).astype(self._dtype)
        count = len(table)
        self._tables = np.full((t.size, *table.shape), np.nan, table.dtype)
        self._tables[0] = table
        self._status = np.where(np.isfinite(table).all(axis=1), Status.OK.value, Status.NOT_FINITE.value)
        self._next = np.ones(count, np.int64)  # the output time to read
        self._now = np.full(count, self._forward[0])
        self._h = np.zeros(count, self._dtype)
        self._past = [np.ones(count, self._dtype) for _ in range(control.memory)]
        self._steps, self._accepted, self._since = (np.zeros(count, np.int64) for _ in range(3))
        self._held = np.arange(count)
        self._points = {"step": self._sorted(points.step_t), "jump": self._sorted(points.jump_t)}
        self._place = {
            name: np.searchsorted(times, self._now, side="right").clip(max=len(times) - 1)
            for name, times in self._points.items()
        }
        ahead = np.concatenate([times[(times >= self._forward[0]) & (times < inf)] for times in self._points.values()])
        if len(np.unique(ahead)) < len(ahead):
            raise InputError("step_t and jump_t must have no time twice, in one of them or in both")
        self.evaluations = 0

    def _sorted(self, times: Any) -> NumpyArray:
        points = np.sort(np.asarray(times, self._dtype) * self._dtype.type(self._direction))
        points = points if points.size else np.array([inf], self._dtype)
        return np.asarray(points)

    def run(self) -> SampleRun:
        """Solve until every sample has reached the last output time, or failed."""
        with np.errstate(all="ignore"):
            self._begin()
            while (active := self._active()).any():
                if active.mean() <= _WORTH_CUTTING and self._stepper.keep(active):
                    self._held, active = self._held[active], active[active]
                self._attempt(active)
        finite = np.isfinite(self._tables).all(axis=(0, 2))
        wrong = (self._status == Status.OK.value) & ~finite
        self._status[wrong] = Status.NOT_FINITE.value
        time = (self._direction * self._now).astype(np.float64)
        return SampleRun(self._tables, self._status, time, self._steps, self._accepted, self.evaluations)

    def _begin(self) -> None:
        t0 = self._direction * self._now
        self._stepper.begin(t0)
        first = self._control.first_step
        self.evaluations = 1 if first is not None else 2
        h = self._stepper.first_length(t0) if first is None else np.full(len(t0), first, self._dtype)
        self._h = clamp(h, control=self._control, xp=NUMPY)

    def _active(self) -> NumpyArray:
        """Which of the samples held go on; the others are done, or get the status that says why not."""
        held = self._held
        unfinished = (self._status[held] == Status.OK.value) & (self._next[held] < len(self._forward))
        if not unfinished.any():
            return np.asarray(unfinished)
        now, h = self._now[held], self._h[held]
        limits, control = self._limits, self._control
        spent = limits.max_evals is not None and self.evaluations + self._calls > limits.max_evals
        late = limits.deadline is not None and perf_counter() >= limits.deadline
        steps = self._steps[held]
        over = (steps >= limits.max_steps) | (steps - self._since[held] >= control.max_num_steps)
        everyone = np.ones(len(held), bool)
        for status, found in (
            (Status.NOT_FINITE, np.isnan(h)),
            (Status.STEP_UNDERFLOW, ~(now + h > now) | np.isinf(h)),
            (Status.STEP_LIMIT, over),
            (Status.EVALUATION_LIMIT, everyone & spent),
            (Status.DEADLINE, everyone & late),
        ):
            stopped = unfinished & found
            self._status[held[stopped]] = status.value
            unfinished &= ~found
            if status.usable:
                state = self._stepper.state() if stopped.any() else None
                for place in np.flatnonzero(stopped):
                    sample = held[place]
                    self._tables[self._next[sample] :, sample] = state[place]  # type: ignore[index]
        return np.asarray(unfinished)

    def _attempt(self, active: NumpyArray) -> None:
        """One step of every sample held; those that are not active keep what they have."""
        held, direction = self._held, self._dtype.type(self._direction)
        now, h = self._now[held], self._h[held]
        end, on_step = now + h, np.zeros(len(held), bool)
        hits = {}
        for name, times in self._points.items():
            end, h, hits[name] = stop_at(times[self._place[name][held]], now, end, h, xp=NUMPY)
        on_step, on_jump = hits["step"] & ~hits["jump"], hits["jump"]
        ratio = self._stepper.attempt(direction * now, direction * end, direction * h).astype(self._dtype)
        self.evaluations += self._calls
        past = [ratios[held] for ratios in self._past]
        verdict = judge(h, ratio, past, order=self._order, control=self._control, xp=NUMPY)
        moved = verdict.accept & active
        self._steps[held[active]] += 1
        self._h[held[active]] = verdict.h[active]
        for ratios, remembered in zip(self._past, verdict.past, strict=True):
            ratios[held[active]] = remembered[active]
        self._accepted[held[moved]] += 1
        self._now[held[moved]] = end[moved]
        for name, passed in (("step", on_step), ("jump", on_jump)):
            place = self._place[name]
            place[held[moved & passed]] = (place[held[moved & passed]] + 1).clip(max=len(self._points[name]) - 1)
        jumps = bool((moved & on_jump).any())
        self.evaluations += jumps
        self._read(moved, now, end, direction * h)
        self._stepper.accept(moved, np.where(moved & on_jump, direction * end, np.nan) if jumps else None)

    def _read(self, moved: NumpyArray, start: NumpyArray, end: NumpyArray, h: NumpyArray) -> None:
        """Read the output times that the accepted steps have passed."""
        held, forward = self._held, self._forward
        ends: StepEnds | None = None
        while True:
            j = self._next[held]
            due = moved & (j < len(forward))
            due[due] = forward[j[due]] <= end[due]
            if not due.any():
                return
            ends = ends or self._stepper.ends()
            number = ends.y1.dtype.type
            x = ((forward[j[due]] - start[due]) / (end[due] - start[due])).astype(number)[:, None]
            rows = [table[due] for table in ends]  # type: ignore[index]
            y0, y1, mid, k0, k1 = rows
            self._tables[j[due], held[due]] = quartic(x, h[due].astype(number)[:, None], y0, y1, mid, k0, k1)
            self._next[held[due]] += 1
            self._since[held[due]] = self._steps[held[due]]
