"""Events: the zeros of functions of time and state, and the search for them inside an accepted step.

The search that torchdiffeq makes is solver text over a backend, emitted into graphs too. The law here: times
in it run forward, whatever the direction of the solve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from odelet.numerics.backend import Array

# torchdiffeq gives up a fixed-step search for an event after this many steps.
MOST_FIXED_STEPS = 20_000

EventValues = Callable[[Array, Array], Array]


def combine_events(values: EventValues, t0: Array, y0: Array, *, xp: Any) -> EventValues:
    """Several event functions as one that is positive until the first of them changes its sign.

    values: of a time and a row (1, n), an array (events,). t0, y0: the start, where the signs are taken.
    Source: torchdiffeq `event_handling.py::combine_event_functions`.
    """
    signs = xp.sign(values(t0, y0))
    return lambda t, y: xp.smallest(values(t, y) * signs)


def bisect(
    read: Callable[[Array], Array], sign: EventValues, before: Array, t0: Array, t1: Array, *, atol: Array, xp: Any
) -> tuple[Array, Array]:
    """The time between t0 and t1, forward, where an event function's sign leaves `before`, and the state there.

    read: the state (1, n) at a forward time. sign: of the event function at a forward time and a state. The
    bracket is halved until it is shorter than atol, and the time is its middle, so that it errs by at most
    half of atol beyond what the interpolant does. With an atol of 0 nothing is halved, as in torchdiffeq. An event
    function that gives NaN at t1 or on the way there makes the time NaN; torchdiffeq takes it for an event.
    Source: torchdiffeq `event_handling.py::find_event`.
    """
    halvings = xp.log((t1 - t0) / atol) / math.log(2.0)
    countable = (halvings > 0) & (halvings < 2.0**31)
    limit = xp.ceil(xp.where(countable, halvings, 0.0))

    def halve(low: Array, high: Array) -> tuple[bool, list[Array]]:
        middle = (high + low) / 2.0
        value = sign(middle, read(middle))
        same = xp.equal(value, before)
        return True, [xp.where(same, middle, low), xp.where(same, high, middle + xp.cast(value * 0.0, middle))]

    low, high = xp.loop(halve, limit, True, [t0, t1 + xp.cast(sign(t1, read(t1)) * 0.0, t1)])
    found = (low + high) / 2.0
    return found, read(found)


@dataclass(frozen=True)
class Event:
    """Something that happens during a solve: a zero of a function of time and state.

    fn: called with t, a float, and y, shaped like the state (a tuple of arrays for a tuple state); returns a
    number, zero at the event. direction: 1 where only zeros count at which fn grows along the solve, -1 where it
    falls, 0 for both. terminal: whether the solve ends there. reset: (t, y) to the state to go on from.

    Zeros are located on the dense output, to the last place of t; how far that is from the true event is up to
    the tolerances of the solve, and to its read-out, which for bosh3 and adaptive_heun is of low order. An fn
    that is zero at the start, or just after a reset, does not fire at once; one that changes its sign twice
    within a step is not seen. Raises ValueError for a direction that is none.
    """

    fn: Callable[[float, Any], Any]
    direction: int = field(default=0, kw_only=True)
    terminal: bool = field(default=False, kw_only=True)
    reset: Callable[[float, Any], Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.direction not in (-1, 0, 1):
            raise ValueError(f"direction={self.direction!r} must be -1, 0 or 1")
        for name in ("fn", "reset"):
            value = getattr(self, name)
            if not callable(value) and not (name == "reset" and value is None):
                raise ValueError(f"{name}={value!r} must be a function of t and y")


@dataclass(frozen=True)
class Occurrences:
    """When an event happened in a solve, times (k,), and the states there, before any reset: (k, *shape), or a tuple
    of them for a tuple state."""

    times: Any
    states: Any
