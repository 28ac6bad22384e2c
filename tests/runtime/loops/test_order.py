"""Measured orders of whole solves: at the ends of steps, and between them."""

from functools import cache
from math import log2

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from support.rosters import ADAPTIVE, MARCHING, METHODS, MIDDLE_ORDERS, STEPPING, order_of, steps_of

import odelet

# Implicit methods find their stages to 1e-8, whatever the scale of the state; so the state is large.
SCALE = 1e5
# The corrector of a multistep method ends by these; no other method heeds them where its steps are given.
TOLERANCES = {"rtol": 1e-11, "atol": 1e-11 * SCALE}
END = 2.0


def swinging(t, y):
    """A pendulum that is pushed: not linear, and not the same at all times."""
    angle, speed = y / SCALE
    return SCALE * np.stack([speed, np.cos(2 * t) - 2 * np.sin(angle)])


def few_slopes(method):
    """As many slopes as make the order of the start: explicit formulas with all eleven are stable on no step here."""
    enough = {"max_iters": 20} if METHODS[method].iterates else {}
    return {"max_order": METHODS[method].order + 1} | enough if METHODS[method].remembers else {}


def solve(method, h, times, **options):
    """States at the times, in units of SCALE."""
    y0 = SCALE * np.array([1.0, 0.5])
    options = steps_of(method, h) | few_slopes(method) | options
    solution = odelet.odeint(swinging, y0, times, method=method, **TOLERANCES, options=options)
    return solution.raise_if_failed().outputs["y"] / SCALE


@cache
def exact():
    """The solution as a function of times, to about 1e-13 thanks to steps that are shorter than they need be."""
    start = SCALE * np.array([1.0, 0.5])
    tight = {"rtol": 1e-12, "atol": 1e-12 * SCALE, "max_step": 0.04}
    dense = solve_ivp(swinging, (0, END + 1), start, method="DOP853", dense_output=True, **tight).sol
    return lambda times: dense(times).T / SCALE


def last_order(errors, *, above):
    """The exponent p of error ~ h^p from one halving of h to the next, the last that is well above rounding."""
    kept = [error for error in errors if error > above]
    assert len(kept) >= 3
    return log2(kept[-2] / kept[-1])


@pytest.mark.parametrize("method", STEPPING)
def test_halving_the_step_shows_the_order(method):
    """By what each halving changes, no solution needed: Richardson's way."""
    several = METHODS[method].remembers
    ends = [solve(method, 2.0**-k, [0, END])[-1] for k in (range(4, 9) if several else range(1, 8))]
    changes = [np.abs(one - other).max() for one, other in zip(ends[:-1], ends[1:], strict=True)]
    # An implicit multistep method combines one slope more than it remembers.
    expected = order_of(method) + (several and METHODS[method].implicit)
    assert expected - 0.3 < last_order(changes, above=2e-13) < expected + 0.8


def between(h):
    """Output times that lie within steps of length h, at several fractions of them.

    The last lies at the end of one: the grid of fixed steps ends there, and multistep formulas are for equal steps.
    """
    starts = np.arange(0, END, max(h, 0.125))
    return np.unique(np.concatenate([[0, END], *(starts + x * h for x in (0.2, 0.5, 0.7, 0.9))]))


def read_out_order(method, **options):
    lengths = [2.0**-k for k in (range(4, 8) if METHODS[method].remembers else range(2, 6))]
    errors = [np.abs(solve(method, h, between(h), **options) - exact()(between(h))).max() for h in lengths]
    return last_order(errors, above=1e-10)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_quartics_between_steps(method):
    """The quartic errs by h^5, and where only the slope knows of the middle, by h^2."""
    expected = min(order_of(method), 5, MIDDLE_ORDERS.get(method, 1) + 1)
    assert read_out_order(method) == pytest.approx(expected, abs=0.4)


READ_OUT_ORDERS = {"linear": 2, "cubic": 4}


@pytest.mark.parametrize("interpolant", READ_OUT_ORDERS)
@pytest.mark.parametrize("method", MARCHING)
def test_lines_and_cubics_between_steps(method, interpolant):
    expected = min(order_of(method), READ_OUT_ORDERS[interpolant])
    assert read_out_order(method, interp=interpolant) == pytest.approx(expected, abs=0.4)
