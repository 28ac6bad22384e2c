"""Accepted steps that are kept: they give the solution at any time between the first and the last of them.

The law here: a DenseStep is a copy, and reading it gives what reading the step gave when it was taken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from odelet.errors import InputError
from odelet.loops.run import solution_arrays
from odelet.numerics.backend import NumpyArray
from odelet.numerics.interpolation import hermite, linear, quartic

# A BatchedReader collects steps until their states hold this many numbers, and then reads all of them at once.
_READ_AT_ONCE = 2**14

# A time of the solver: a Python float, or a numpy scalar where times are float32 or come from an array. No narrower
# type fits both, as numpy's stubs give no common type to their sums.
Time = Any


class StepEnds(NamedTuple):
    """An accepted step: the states (1, n) at both ends, the state in the middle of an adaptive step, and the slopes at
    both ends where they are known."""

    y0: NumpyArray
    y1: NumpyArray
    mid: NumpyArray | None = None
    k0: NumpyArray | None = None
    k1: NumpyArray | None = None


@dataclass(frozen=True)
class DenseStep:
    """A step with its dense output: the quartic of an adaptive method, or the line or cubic of a fixed-step one.

    start, end: the forward times between which the step is valid. stop: the forward time at which the step itself ends,
    later than `end` where an event cuts the step short. h: the signed length of the step. ends: its states and slopes.
    """

    start: Time
    end: Time
    stop: Time
    h: Time
    ends: StepEnds

    def read(self, time: Time) -> NumpyArray:
        """The state (n,) at a forward time."""
        y0, y1, mid, k0, k1 = self.ends
        number = y1.dtype.type
        x, h = number((time - self.start) / (self.stop - self.start)), number(self.h)
        with np.errstate(all="ignore"):
            if mid is not None:
                state = quartic(x, h, y0, y1, mid, k0, k1)
            else:
                state = linear(x, y0, y1) if k1 is None else hermite(x, h, y0, y1, k0, k1)
        row: NumpyArray = state[0]
        return row


class BatchedReader:
    """Reads output times off the steps of an adaptive method, many steps at once. rows: receives the states,
    (times, n)."""

    def __init__(self, rows: NumpyArray) -> None:
        self._rows = rows
        self._steps: list[DenseStep] = []
        self._times: list[NumpyArray] = []
        self._places: list[slice] = []

    def add(self, step: DenseStep, times: NumpyArray, places: slice) -> None:
        """Ask for the states at forward times within a step, to be written to these places of the rows."""
        self._steps.append(step)
        self._times.append(times)
        self._places.append(places)
        if len(self._steps) * self._rows.shape[1] >= _READ_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Fill the rows of all times that were added."""
        if not self._steps:
            return
        counts = [len(times) for times in self._times]
        start, stop, h = (
            np.repeat([getattr(step, name) for step in self._steps], counts) for name in ("start", "stop", "h")
        )
        ends = [
            np.repeat(np.concatenate(rows), counts, axis=0)
            for rows in zip(*(step.ends for step in self._steps), strict=True)
        ]
        with np.errstate(all="ignore"):
            x = (np.concatenate(self._times) - start) / (stop - start)
            x, h = (value.astype(self._rows.dtype)[:, None] for value in (x, h))
            self._rows[self._places[0].start : self._places[-1].stop] = quartic(x, h, *ends)
        self._steps, self._times, self._places = [], [], []


class Trajectory:
    """A solve as a function of time.

    t0, y0: the time at which the solve begins, and the state (1, n) there. shapes: the shapes of the parts of the
    state. direction: 1 or -1, as time runs. time_type: the numpy type of the times; the solver chooses it, and sets it
    when it begins.
    """

    def __init__(self, t0: float, y0: NumpyArray, shapes: Sequence[tuple[int, ...]], direction: float) -> None:
        self._y0, self._shapes, self._direction = y0.copy(), list(shapes), direction
        self.time_type: type[np.floating[Any]] = np.float64
        self._t0 = t0
        self._steps: list[DenseStep] = []
        self._ends: list[Time] = []

    def append(self, step: DenseStep) -> None:
        """Add the next accepted step."""
        self._steps.append(step)
        self._ends.append(step.end)

    @property
    def _start(self) -> Time:
        return self.time_type(self._direction * self._t0)

    @property
    def range(self) -> tuple[float, float]:
        """The first and the last time that can be read."""
        last = self._ends[-1] if self._ends else self._start
        return float(self._direction * self._start), float(self._direction * last)

    @property
    def ends(self) -> NumpyArray:
        """The forward times at which the accepted steps end, (steps,)."""
        return np.array(self._ends, np.float64)

    def row(self, time: float) -> NumpyArray:
        """The state (n,) at a time; at an event that resets the state, the state before the reset."""
        forward = self.time_type(self._direction * time)
        start = self._start
        last = self._ends[-1] if self._ends else start
        if not start <= forward <= last:
            first_time, last_time = self.range
            raise InputError(f"t={time!r} is outside the range that was solved, {first_time:g} to {last_time:g}")
        if forward == start:
            return np.asarray(self._y0[0])
        return self._steps[bisect_left(self._ends, forward)].read(forward)

    def at(self, t: Any) -> NumpyArray | tuple[NumpyArray, ...]:
        """The state at a time or an array of times: (*times, *shape), or a tuple of such arrays for a tuple state.

        Raises InputError for a time outside the range that was solved.
        """
        times = np.asarray(t, np.float64)
        rows = np.array([self.row(float(time)) for time in times.ravel()], self._y0.dtype)
        arrays = solution_arrays(rows.reshape(times.size, self._y0.size), self._shapes)
        parts = [array.reshape(*times.shape, *shape) for array, shape in zip(arrays, self._shapes, strict=True)]
        return parts[0] if len(parts) == 1 else tuple(parts)
