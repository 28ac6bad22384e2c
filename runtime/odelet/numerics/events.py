"""Events: zeros of functions of time and state, and the search for them inside an accepted step.

The search that torchdiffeq makes is solver text over a backend, emitted into graphs too. Times in it run forward,
whatever the direction of the solve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from odelet.numerics.backend import Array, Backend, Scalar

# torchdiffeq gives up a fixed-step search for an event after this many steps.
MOST_FIXED_STEPS = 20_000

# A function that takes a time and a state (1, n), and returns the value of one event function, or the values of
# several, (events,).
EventValues = Callable[[Scalar, Array], Array]


def combine_events(values: EventValues, t0: Scalar, y0: Array, *, xp: Backend) -> EventValues:
    """A single event function that is positive until the first of several event functions changes its sign.

    values: gives the values (events,) of the event functions. t0, y0: the start of the solve, where each of them has
    the sign that it may lose.
    Source: torchdiffeq `event_handling.py::combine_event_functions`.
    """
    signs = xp.sign(values(t0, y0))
    return lambda t, y: xp.smallest(values(t, y) * signs)


def bisect(
    read: Callable[[Scalar], Array],
    sign: EventValues,
    before: Scalar,
    t0: Scalar,
    t1: Scalar,
    *,
    atol: Scalar,
    xp: Backend,
) -> tuple[Scalar, Array]:
    """The time between t0 and t1 at which the sign of an event function leaves `before`, and the state (1, n) then.

    read: the state (1, n) at a time. sign: the sign of the event function at a time and a state. The bracket is halved
    until it is shorter than atol, and the time returned is its middle: it errs by at most half of atol, besides the
    error of the interpolant. With an atol of 0 nothing is halved, as in torchdiffeq. An event function that gives NaN
    at t1, or at a time that is tried, makes the time NaN; torchdiffeq takes NaN for an event.
    Source: torchdiffeq `event_handling.py::find_event`.
    """
    halvings = xp.log((t1 - t0) / atol) / math.log(2.0)
    countable = (halvings > 0) & (halvings < 2.0**31)
    limit = xp.ceil(xp.where(countable, halvings, 0.0))

    def halve(low: Scalar, high: Scalar) -> tuple[bool, list[Scalar]]:
        middle = (high + low) / 2.0
        value = sign(middle, read(middle))
        same = xp.equal(value, before)
        # Zero times the sign is 0, or NaN for NaN; in this way a NaN reaches the bracket and stays there.
        return True, [xp.where(same, middle, low), xp.where(same, high, middle + xp.cast(value * 0.0, middle))]

    low, high = xp.loop(halve, limit, True, [t0, t1 + xp.cast(sign(t1, read(t1)) * 0.0, t1)])
    time = (low + high) / 2.0
    return time, read(time)


@dataclass(frozen=True)
class Event:
    """An event of a solve: a zero of a function of time and state.

    fn: called with t, a float, and y, in the shape of the state (a tuple of arrays for a tuple state); returns a number
    that is zero at the event. direction: 1 to count only zeros at which fn grows along the solve, -1 those at which it
    falls, 0 both. terminal: whether the solve ends at the event. reset: called with the t and y of the event; returns
    the state that the solve goes on from. None for no reset.

    Zeros are located on the dense output, to the last digit of t. How far that is from the true event depends on the
    tolerances of the solve and on the order of the dense output, which for bosh3 and adaptive_heun is low. An fn that
    is zero at the start, or just after a reset, does not fire there; an fn that changes its sign twice within a step
    does not fire. Raises ValueError for a direction other than -1, 0 and 1, and for an fn or a reset that cannot be
    called.

    >>> import odelet
    >>> landing = Event(lambda t, y: y[0], direction=-1, terminal=True)
    >>> fall = odelet.odeint(lambda t, y: [y[1], -9.81], [10.0, 0.0], [0.0, 5.0], events=[landing])
    >>> round(float(fall.events[0].times[0]), 4)  # the square root of 2 * 10 / 9.81
    1.4278
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
    """The k times an event happened in a solve. times: (k,). states: the states then, before any reset, (k, *shape), or
    a tuple of such arrays for a tuple state."""

    times: Any
    states: Any
