"""The search for a caller's events in accepted steps, on their dense output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.run import solution_arrays
from odelet.loops.trajectory import DenseStep, Time
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.events import Event, Occurrences
from odelet.numerics.state import Layout


class EventFinder:
    """Finds the events of a solve, step after step.

    layout: the layout of the state, a row (1, n). direction: 1 or -1, as time runs. single: whether the state is one
    array, or a tuple. Raises InputError for an event that is no odelet.Event.
    """

    def __init__(self, events: Sequence[Event], layout: Layout, direction: float, *, single: bool) -> None:
        for event in events:
            if not isinstance(event, Event):
                raise InputError(f"events holds {event!r}, which is no odelet.Event")
        self._events, self._layout, self._direction, self._single = list(events), layout, direction, single
        self._found: list[list[tuple[float, NumpyArray]]] = [[] for _ in self._events]
        self._signs: list[float] = []

    def begin(self, time: Time, row: NumpyArray) -> None:
        """Take the signs of the event functions at a forward time: an event whose function is zero there does not
        fire."""
        self._signs = [self._sign(event, time, row) for event in self._events]

    def _state(self, row: NumpyArray) -> Any:
        """A row (n,) or (1, n) as the user's functions take the state: an array, or a tuple of them."""
        parts = self._layout.unpack(row.reshape(1, -1), xp=NUMPY)
        return parts[0] if self._single else tuple(parts)

    def _sign(self, event: Event, time: Time, row: NumpyArray) -> float:
        value = np.asarray(event.fn(float(self._direction * time), self._state(row)))
        if value.size != 1:
            raise InputError(f"an event function returned an array of shape {value.shape}; expected a number")
        return float(np.sign(value.item()))

    def find_in(self, step: DenseStep) -> tuple[Time, Event | None]:
        """Find the events in a step, in order.

        Returns the forward time of the first event that ends or resets the solve, with that event, or the end of the
        step and None.
        """
        brackets = [self._bracket(event, sign, step) for event, sign in zip(self._events, self._signs, strict=True)]
        fired = [
            (self._locate(event, before, low, high, step), i)
            for i, (event, (before, low, high)) in enumerate(zip(self._events, brackets, strict=True))
            if high is not None and event.direction * before <= 0
        ]
        for time, i in sorted(fired):
            event = self._events[i]
            self._found[i].append((float(self._direction * time), step.read(time)))
            if event.terminal or event.reset is not None:
                return time, event
        self._signs = [self._sign(event, step.end, step.read(step.end)) for event in self._events]
        return step.end, None

    def _bracket(self, event: Event, before: float, step: DenseStep) -> tuple[float, Time, Time | None]:
        """The sign before an event in a step, and the forward times around the event; the second is None without one.

        A step that begins at a zero, as after a reset, may see the sign change much sooner than at its end: a ball that
        has nearly come to rest. The sign is then also taken at times that approach the start of the step.
        """
        low, span = step.start, step.end - step.start
        shares = [2.0**-k for k in range(20, -1, -1)] if before == 0 else [1.0]
        for share in shares:
            time = step.end if share == 1 else step.start + share * span
            sign = self._sign(event, time, step.read(time))
            if before != 0 and sign != before:
                return before, low, time
            low, before = time, sign
        return before, low, None

    def _locate(self, event: Event, before: float, low: Time, high: Time, step: DenseStep) -> Time:
        """The first floating-point time between low and high at which the sign is no longer `before`."""
        while True:
            middle = low + (high - low) / 2
            if not low < middle < high:
                return high
            if self._sign(event, middle, step.read(middle)) == before:
                low = middle
            else:
                high = middle

    def reset(self, event: Event, time: Time, row: NumpyArray) -> NumpyArray:
        """The state (1, n) to continue from after an event that resets the solve; takes the signs there.

        Raises InputError for a state of other shapes than the solve's.
        """
        assert event.reset is not None
        state = event.reset(float(self._direction * time), self._state(row))
        parts = [np.asarray(part, row.dtype) for part in ((state,) if self._single else state)]
        shapes = [part.shape for part in parts]
        if shapes != [tuple(shape) for shape in self._layout.shapes]:
            raise InputError(f"a reset returned states of shapes {shapes}; expected {list(self._layout.shapes)}")
        fresh = np.array(self._layout.pack(parts, xp=NUMPY))
        # The event that caused the reset is at its zero here, whatever rounding made of the value of its function.
        self._signs = [0.0 if other is event else self._sign(other, time, fresh) for other in self._events]
        return fresh

    def occurrences(self) -> tuple[Occurrences, ...]:
        """The occurrences of each event so far, in the order of the events."""
        return tuple(self._occurrences(occurred) for occurred in self._found)

    def _occurrences(self, occurred: list[tuple[float, NumpyArray]]) -> Occurrences:
        shapes = [tuple(shape) for shape in self._layout.shapes]
        if occurred:
            states = solution_arrays(np.array([row.reshape(-1) for _, row in occurred]), shapes)
        else:
            states = [np.zeros((0, *shape)) for shape in shapes]
        return Occurrences(np.array([time for time, _ in occurred]), states[0] if self._single else tuple(states))
