"""A solve that is watched: events between its steps, its trajectory kept, or both.

The law here: a watched solve takes the steps that it takes unwatched, until an event resets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import AdaptiveRun, AdaptiveSolve
from odelet.loops.fixed import FixedRun, FixedStepper
from odelet.loops.trajectory import DenseStep, Trajectory
from odelet.methods.method import Method
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.events import MOST_FIXED_STEPS, Event, Occurrences, bisect, combine_events
from odelet.numerics.interpolation import linear
from odelet.numerics.state import Layout
from odelet.status import Status


class EventFinder:
    """The events of a solve. single: whether the state is one array, or a tuple."""

    def __init__(self, events: Sequence[Event], layout: Layout, direction: float, *, single: bool) -> None:
        for event in events:
            if not isinstance(event, Event):
                raise InputError(f"events holds {event!r}, which is no odelet.Event")
        self._events, self._layout, self._direction, self._single = list(events), layout, direction, single
        self._found: list[list[tuple[float, NumpyArray]]] = [[] for _ in self._events]
        self._signs: list[float] = []

    def begin(self, time: Any, row: NumpyArray) -> None:
        """Take the signs at a forward time: an event that is there already does not fire."""
        self._signs = [self._sign(event, time, row) for event in self._events]

    def _state(self, row: NumpyArray) -> Any:
        parts = self._layout.unpack(row.reshape(1, -1), xp=NUMPY)
        return parts[0] if self._single else tuple(parts)

    def _sign(self, event: Event, time: Any, row: NumpyArray) -> float:
        value = np.asarray(event.fn(float(self._direction * time), self._state(row)))
        if value.size != 1:
            raise InputError(f"an event function returned an array of shape {value.shape}; expected a number")
        return float(np.sign(value.item()))

    def find_in(self, piece: DenseStep) -> tuple[Any, Event | None]:
        """Find the events in a step, in order; returns the forward time of the first that ends or resets the solve,
        with that event, or the end of the step and None."""
        brackets = [self._bracket(event, sign, piece) for event, sign in zip(self._events, self._signs, strict=True)]
        fired = [
            (self._locate(event, before, low, high, piece), i)
            for i, (event, (before, low, high)) in enumerate(zip(self._events, brackets, strict=True))
            if high is not None and event.direction * before <= 0
        ]
        for time, i in sorted(fired):
            event = self._events[i]
            self._found[i].append((float(self._direction * time), piece.read(time)))
            if event.terminal or event.reset is not None:
                return time, event
        self._signs = [self._sign(event, piece.end, piece.read(piece.end)) for event in self._events]
        return piece.end, None

    def _bracket(self, event: Event, before: float, piece: DenseStep) -> tuple[float, Any, Any]:
        """The sign before an event in a step, and forward times around it; the second is None without an event.

        Where the step begins at a zero, as after a reset, what follows may be much shorter than the step: a ball
        that has nearly come to rest. Then times are looked at that draw near to the start.
        """
        low, span = piece.start, piece.end - piece.start
        shares = [2.0**-k for k in range(20, -1, -1)] if before == 0 else [1.0]
        for share in shares:
            time = piece.end if share == 1 else piece.start + share * span
            sign = self._sign(event, time, piece.read(time))
            if before != 0 and sign != before:
                return before, low, time
            low, before = time, sign
        return before, low, None

    def _locate(self, event: Event, before: float, low: Any, high: Any, piece: DenseStep) -> Any:
        """The first floating-point time at which the sign is another."""
        while True:
            middle = low + (high - low) / 2
            if not low < middle < high:
                return high
            if self._sign(event, middle, piece.read(middle)) == before:
                low = middle
            else:
                high = middle

    def reset(self, event: Event, time: Any, row: NumpyArray) -> NumpyArray:
        """The state (1, n) to go on from, and the signs there."""
        assert event.reset is not None
        state = event.reset(float(self._direction * time), self._state(row))
        parts = [np.asarray(part, row.dtype) for part in ((state,) if self._single else state)]
        shapes = [part.shape for part in parts]
        if shapes != [tuple(shape) for shape in self._layout.shapes]:
            raise InputError(f"a reset returned states of shapes {shapes}; expected {list(self._layout.shapes)}")
        fresh = np.array(self._layout.pack(parts, xp=NUMPY))
        # What caused the reset is zero here, whatever rounding made of it.
        self._signs = [0.0 if other is event else self._sign(other, time, fresh) for other in self._events]
        return fresh

    def occurrences(self) -> tuple[Occurrences, ...]:
        """What was found, for each event."""
        return tuple(self._occurrences(found) for found in self._found)

    def _occurrences(self, found: list[tuple[float, NumpyArray]]) -> Occurrences:
        states = [
            np.array([self._layout.unpack(row.reshape(1, -1), xp=NUMPY)[i] for _, row in found]).reshape(
                len(found), *shape
            )
            for i, shape in enumerate(self._layout.shapes)
        ]
        return Occurrences(np.array([time for time, _ in found]), states[0] if self._single else tuple(states))


@dataclass(frozen=True)
class SolveObserver:
    """What watches a solve, and what it leaves."""

    finder: EventFinder
    trajectory: Trajectory

    @classmethod
    def along(cls, layout: Layout, t: NumpyArray, row: NumpyArray, *, single: bool) -> SolveObserver:
        """For fixed steps of the row (1, n) over the times t, which are kept."""
        watched = cls.of((), layout, t, row, single=single)
        watched.trajectory.number = t.dtype.type
        return watched

    @classmethod
    def of(
        cls, events: Sequence[Event], layout: Layout, t: NumpyArray, row: NumpyArray, *, single: bool
    ) -> SolveObserver:
        """For a solve of the row (1, n) over the times t."""
        direction = -1.0 if t[-1] < t[0] else 1.0
        watch = EventFinder(events, layout, direction, single=single)
        return cls(watch, Trajectory(float(t[0]), row, layout.shapes, direction))

    def integrate(self, solve: Callable[[], AdaptiveSolve], y0: NumpyArray, t: NumpyArray) -> AdaptiveRun:
        """Solve, watched."""
        return solve_observed(solve, y0, t, self.trajectory, self.finder)


def solve_observed(
    solve: Callable[[], AdaptiveSolve], y0: NumpyArray, t: NumpyArray, trajectory: Trajectory, watch: EventFinder
) -> AdaptiveRun:
    """As `odelet.drive.integrate_adaptive`, keeping the accepted steps and looking for events.

    After a terminal event the states are NaN, and the status is EVENT.
    """
    rows = np.full((t.size, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    if not np.isfinite(y0).all():
        return AdaptiveRun(rows, Status.NOT_FINITE, float(t[0]), 0, 0)
    under_way, status = solve(), Status.OK
    trajectory.number = under_way.number
    direction = -1.0 if t[-1] < t[0] else 1.0
    forward = (direction * t).astype(under_way.number)
    watch.begin(forward[0], y0[0])
    reached, since = 1, 0
    while reached < t.size:
        status = under_way.step(since)
        if status is not Status.OK:
            break
        # Steps go past the last output time; what happens there is not asked for.
        piece = under_way.piece()
        piece = replace(piece, end=min(piece.end, forward[-1]))
        end, event = watch.find_in(piece)
        piece = replace(piece, end=end)
        trajectory.append(piece)
        while reached < t.size and forward[reached] <= end:
            rows[reached] = trajectory.row(t[reached])
            reached, since = reached + 1, under_way.steps
        if event is not None and event.terminal:
            status = Status.EVENT
            break
        if event is not None and reached < t.size:
            under_way.restart(float(direction * end), watch.reset(event, end, piece.read(end)))
    finite = np.isfinite(rows[:reached]).all()
    status = status if finite else Status.NOT_FINITE
    time = trajectory.range[1] if status is Status.EVENT else under_way.time
    return AdaptiveRun(rows, status, time, under_way.steps, under_way.accepted, under_way.evaluations)


def solve_until_event(
    solve: Callable[[], AdaptiveSolve],
    y0: NumpyArray,
    t: NumpyArray,
    values: Callable[[Any, NumpyArray], NumpyArray],
    *,
    atol: float,
) -> tuple[AdaptiveRun, float]:
    """Solve until a function of time and row changes its sign, as torchdiffeq does; returns the run and the time.

    t: the start, and a time that says the direction. values: of signed time and a row (1, n), (events,).
    """
    direction = -1.0 if t[1] < t[0] else 1.0
    rows = np.full((2, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    if not np.isfinite(y0).all():
        return AdaptiveRun(rows, Status.NOT_FINITE, float(t[0]), 0, 0), np.nan
    under_way = solve()
    number = under_way.number
    value = combine_events(values, number(t[0]), y0, xp=NUMPY)

    def sign(time: Any, row: NumpyArray) -> Any:
        return np.sign(value(number(direction * time), row.reshape(1, -1)))

    before = sign(direction * t[0], y0)
    found, row, status = number(direction * t[0]), y0[0], Status.OK
    if before != 0:
        while status is Status.OK:
            status = under_way.step(0)
            if status is not Status.OK:
                break
            piece = under_way.piece()
            if sign(piece.end, piece.ends.y1) != before:
                with np.errstate(all="ignore"):
                    ends = number(piece.start), number(piece.end)
                    found, row = bisect(piece.read, sign, before, *ends, atol=number(atol), xp=NUMPY)
                break
    if status is Status.OK:
        rows[1] = row
        status = Status.OK if np.isfinite(rows).all() else Status.NOT_FINITE
        time = float(direction * found)
        return AdaptiveRun(rows, status, time, under_way.steps, under_way.accepted, under_way.evaluations), time
    run = AdaptiveRun(rows, status, under_way.time, under_way.steps, under_way.accepted, under_way.evaluations)
    return run, np.nan


def solve_on_grid_until_event(
    stepper: FixedStepper,
    method: Method,
    y0: NumpyArray,
    t: NumpyArray,
    values: Callable[[Any, NumpyArray], NumpyArray],
    *,
    step_size: float,
    atol: float,
) -> tuple[FixedRun, float]:
    """As `integrate_until_event`, by steps of one length along which the state is read by straight lines.

    Source: torchdiffeq `solvers.py::FixedGridODESolver.integrate_until_event`, with its times in the state's dtype.
    """
    number = y0.dtype.type
    direction = number(-1 if t[1] < t[0] else 1)
    now, h = number(direction * t[0]), number(step_size)
    value = combine_events(values, number(t[0]), y0, xp=NUMPY)

    def sign(time: Any, row: NumpyArray) -> Any:
        return np.sign(value(number(direction * time), row.reshape(1, -1)))

    before = sign(now, y0)
    rows = np.full((2, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    calls = failures = 0
    for steps in range(1, MOST_FIXED_STEPS + 1):
        end = number(now + h)
        called, failed = stepper.step(direction * now, direction * end)
        calls, failures = calls + called, failures + failed
        unconverged = failures if method.iterates else None
        first, last = stepper.ends()[:2]
        if sign(end, last) != before:
            read = partial(_on_line, now, end, first, last)
            with np.errstate(all="ignore"):
                found, row = bisect(read, sign, before, now, end, atol=atol, xp=NUMPY)
            rows[1] = row[0]
            status = Status.OK if np.isfinite(rows).all() else Status.NOT_FINITE
            time = float(direction * found)
            return FixedRun(rows, status, time, steps, calls, unconverged), time
        now = end
    return FixedRun(rows, Status.STEP_LIMIT, float(direction * now), steps, calls, unconverged), np.nan


def _on_line(start: Any, end: Any, y0: NumpyArray, y1: NumpyArray, time: Any) -> NumpyArray:
    return linear(y0.dtype.type((time - start) / (end - start)), y0, y1)  # type: ignore[no-any-return]
