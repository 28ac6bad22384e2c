"""The loop of a batch whose samples are solved each on its own.

Each sample has its own time, step length, acceptance and status, so that its steps do not depend on the other samples;
all samples share the evaluations of the field. The law here: whatever has one number for each sample is an array
(samples,), and samples that have finished leave the batch. A table is an array (samples, n), one state a row.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from odelet.loops.adaptive import Points
from odelet.loops.limits import Limits
from odelet.loops.run import SolveRun
from odelet.loops.sample_tables import row_of
from odelet.loops.stats import SampleStats
from odelet.loops.trajectory import StepEnds
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.control import Control, clamp, judge, stop_at
from odelet.numerics.interpolation import quartic
from odelet.numerics.state import Layout
from odelet.status import Status

# A batch is cut down to its unfinished samples when no more than this share of it is left.
_WORTH_CUTTING = 0.75


class SampleStepper(Protocol):
    """Holds the states of a batch and attempts a step of each sample. Times and lengths: (samples,), signed."""

    def begin(self, t: NumpyArray) -> None:
        """Evaluate the first slopes, at the times t."""

    def first_length(self, t: NumpyArray) -> NumpyArray:
        """Estimate the lengths of the first steps, (samples,); call `begin` before."""

    def attempt(self, t: NumpyArray, t1: NumpyArray, h: NumpyArray) -> NumpyArray:
        """Attempt the steps from t to t1, of lengths h; return the error ratios, (samples,)."""

    def accept(self, accepted: NumpyArray, jump: NumpyArray | None) -> None:
        """Move the samples that are True in `accepted` to the ends of their steps. jump: (samples,), the time at which
        the field of a sample jumps, so that its slope must be evaluated again, or NaN; None if no field jumps."""

    def ends(self) -> StepEnds:
        """The steps that were attempted last, as tables (samples, n); k1 is the slope before a jump."""

    def state(self) -> NumpyArray:
        """The states, a table (samples, n)."""

    def keep(self, kept: NumpyArray) -> bool:
        """Continue with only the samples that are True in `kept`; return False if this batch cannot be cut down."""


class SampleSolve:
    """The solves of a batch under way.

    table: the first states, (samples, n). t: the output times. order: the order of the method. calls: the evaluations
    that one attempt takes. The attribute `_held` has the numbers of the samples that the stepper still has.
    """

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
        self._next = np.ones(count, np.int64)  # the index of the output time that each sample reaches next
        self._now = np.full(count, self._forward[0])
        self._h = np.zeros(count, self._dtype)
        self._past = [np.ones(count, self._dtype) for _ in range(control.memory)]
        self._steps, self._accepted, self._since = (np.zeros(count, np.int64) for _ in range(3))
        self._held = np.arange(count)
        step_t, jump_t = points.forward(self._forward[0], direction, self._dtype)
        self._points = {"step": step_t, "jump": jump_t}
        self._place = {
            name: np.searchsorted(times, self._now, side="right").clip(max=len(times) - 1)
            for name, times in self._points.items()
        }
        self.evaluations = self._turns = 0

    def run(self, layout: Layout) -> SolveRun:
        """Solve until every sample has reached the last output time, or failed. layout: that of the rows to return."""
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
        samples = SampleStats.of(self._status, time, self._steps, self._accepted)
        rows = np.concatenate([row_of(table, layout) for table in self._tables])
        return SolveRun.of_samples(samples, evaluations=self.evaluations, rows=rows)

    def _begin(self) -> None:
        t0 = self._direction * self._now
        self._stepper.begin(t0)
        first = self._control.first_step
        self.evaluations = 1 if first is not None else 2
        h = self._stepper.first_length(t0) if first is None else np.full(len(t0), first, self._dtype)
        self._h = clamp(h, control=self._control, xp=NUMPY)

    def _active(self) -> NumpyArray:
        """The mask of the held samples that continue, True for those. Any other sample has finished, or failed: it then
        gets the status that says why."""
        held = self._held
        unfinished = (self._status[held] == Status.OK.value) & (self._next[held] < len(self._forward))
        if not unfinished.any():
            return np.asarray(unfinished)
        now, h, steps = self._now[held], self._h[held], self._steps[held]
        over = (steps >= self._limits.max_steps) | (steps - self._since[held] >= self._control.max_num_steps)
        slowest = None if self._limits.watch is None else self._direction * float(now[unfinished].min())
        exceeded = self._limits.exceeded(self.evaluations, self._calls, steps=self._turns, time=slowest)
        for status, stops in (
            (Status.NOT_FINITE, np.isnan(h)),
            (Status.STEP_UNDERFLOW, ~(now + h > now) | np.isinf(h)),
            (Status.STEP_LIMIT, over),
            (exceeded, np.full(len(held), exceeded is not Status.OK)),
        ):
            stopped = unfinished & stops
            unfinished &= ~stops
            self._status[held[stopped]] = status.value
            if status.usable and stopped.any():
                state = self._stepper.state()
                for place in np.flatnonzero(stopped):
                    sample = held[place]
                    self._tables[self._next[sample] :, sample] = state[place]
        return np.asarray(unfinished)

    def _attempt(self, active: NumpyArray) -> None:
        """Attempt one step of every held sample; a sample that is not active stays as it is."""
        held, direction = self._held, self._dtype.type(self._direction)
        now, h = self._now[held], self._h[held]
        end, hits = now + h, {}
        for name, times in self._points.items():
            end, h, hits[name] = stop_at(times[self._place[name][held]], now, end, h, xp=NUMPY)
        on_step, on_jump = hits["step"] & ~hits["jump"], hits["jump"]
        ratio = self._stepper.attempt(direction * now, direction * end, direction * h).astype(self._dtype)
        self.evaluations += self._calls
        self._turns += 1
        past = [ratios[held] for ratios in self._past]
        decision = judge(h, ratio, past, order=self._order, control=self._control, xp=NUMPY)
        moved = decision.accept & active
        self._steps[held[active]] += 1
        self._h[held[active]] = decision.h[active]
        for ratios, remembered in zip(self._past, decision.past, strict=True):
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
            y0, y1, mid, k0, k1 = [table[due] for table in ends if table is not None]
            self._tables[j[due], held[due]] = quartic(x, h[due].astype(number)[:, None], y0, y1, mid, k0, k1)
            self._next[held[due]] += 1
            self._since[held[due]] = self._steps[held[due]]
