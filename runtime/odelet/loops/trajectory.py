"""Accepted steps, kept: the solution at any time between the first and the last of them.

The law here: a piece is a copy, and reading one gives what reading the step gave when it was taken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray
from odelet.numerics.interpolation import hermite, linear, quartic

# Steps are kept until they have this many numbers in a row, and then read.
_AT_ONCE = 2**14


class StepEnds(NamedTuple):
    """The accepted step: states (1, n) at both ends, and for an adaptive method the middle and the slopes."""

    y0: NumpyArray
    y1: NumpyArray
    mid: NumpyArray | None = None
    k0: NumpyArray | None = None
    k1: NumpyArray | None = None


@dataclass(frozen=True)
class DenseStep:
    """A step, read by the quartic of an adaptive method, or by the line or cubic of a fixed-step one.

    start, end: where it is valid, and stop, where the step itself ends (an event may cut it short): forward times, in
    the solver's number type. h: its length, signed. ends: its states and slopes.
    """

    start: Any
    end: Any
    stop: Any
    h: Any
    ends: StepEnds

    def read(self, time: Any) -> NumpyArray:
        """The state (n,) at a forward time."""
        y0, y1, mid, k0, k1 = self.ends
        number = y1.dtype.type
        x, h = number((time - self.start) / (self.stop - self.start)), number(self.h)
        with np.errstate(all="ignore"):
            if mid is not None:
                return quartic(x, h, y0, y1, mid, k0, k1)[0]  # type: ignore[no-any-return]
            return (linear(x, y0, y1) if k1 is None else hermite(x, h, y0, y1, k0, k1))[0]  # type: ignore[no-any-return]


class BatchedReader:
    """Reads many times off the steps of an adaptive method, those of many steps at once.

    rows: takes the states, (times, n).
    """

    def __init__(self, rows: NumpyArray) -> None:
        self._rows = rows
        self._pieces: list[DenseStep] = []
        self._times: list[NumpyArray] = []
        self._places: list[slice] = []

    def add(self, piece: DenseStep, times: NumpyArray, places: slice) -> None:
        """Forward times within a step, and the rows that they go to."""
        self._pieces.append(piece)
        self._times.append(times)
        self._places.append(places)
        if len(self._pieces) * self._rows.shape[1] >= _AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Fill the rows of all times so far."""
        if not self._pieces:
            return
        counts = [len(times) for times in self._times]
        start, stop, h = (
            np.repeat([getattr(piece, name) for piece in self._pieces], counts) for name in ("start", "stop", "h")
        )
        ends = [
            np.repeat(np.concatenate(rows), counts, axis=0)
            for rows in zip(*(p.ends for p in self._pieces), strict=True)
        ]
        with np.errstate(all="ignore"):
            x = (np.concatenate(self._times) - start) / (stop - start)
            x, h = (value.astype(self._rows.dtype)[:, None] for value in (x, h))
            self._rows[self._places[0].start : self._places[-1].stop] = quartic(x, h, *ends)
        self._pieces, self._times, self._places = [], [], []


class Trajectory:
    """A solve as a function of time. t0, y0: where it begins, and the row (1, n) there. number: the type of its times,
    which the solver knows when it begins."""

    def __init__(self, t0: float, y0: NumpyArray, shapes: Sequence[tuple[int, ...]], direction: float) -> None:
        self._y0, self._shapes, self._direction = y0.copy(), list(shapes), direction
        self.number: Any = np.float64
        self._t0 = t0
        self._pieces: list[DenseStep] = []
        self._ends: list[Any] = []

    def append(self, piece: DenseStep) -> None:
        """Go on with an accepted step."""
        self._pieces.append(piece)
        self._ends.append(piece.end)

    @property
    def _first(self) -> Any:
        return self.number(self._direction * self._t0)

    @property
    def range(self) -> tuple[float, float]:
        """The first and the last time that can be read."""
        last = self._ends[-1] if self._ends else self._first
        return float(self._direction * self._first), float(self._direction * last)

    @property
    def ends(self) -> NumpyArray:
        """The forward times at which the accepted steps end."""
        return np.array(self._ends, np.float64)

    def row(self, time: float) -> NumpyArray:
        """The state (n,) at a time; before an event that changes it, at the event itself."""
        forward = self.number(self._direction * time)
        last = self._ends[-1] if self._ends else self._first
        if not self._first <= forward <= last:
            first, end = self.range
            raise InputError(f"t={time!r} is outside the range that was solved, {first:g} to {end:g}")
        if forward == self._first:
            return np.asarray(self._y0[0])
        return self._pieces[bisect_left(self._ends, forward)].read(forward)

    def at(self, t: Any) -> NumpyArray | tuple[NumpyArray, ...]:
        """The state at a time or an array of times: (*times, *shape), or a tuple of them for a tuple state.

        Raises InputError for a time outside the range that was solved.
        """
        times = np.asarray(t, np.float64)
        rows = np.array([self.row(float(time)) for time in times.ravel()], self._y0.dtype)
        rows = rows.reshape(times.size, self._y0.size)
        cuts = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1]
        parts = [
            piece.reshape(*times.shape, *shape)
            for piece, shape in zip(np.split(rows, cuts, axis=1), self._shapes, strict=True)
        ]
        return parts[0] if len(parts) == 1 else tuple(parts)
