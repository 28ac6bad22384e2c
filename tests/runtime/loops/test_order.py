"""The measured orders of whole solves, at the ends of steps and between them."""

from functools import cache
from math import log2

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from support.rosters import ADAPTIVE, METHODS, MIDDLE_ORDERS, ON_GRID, STEPPING, order_of, steps_of

import odelet

# The state is large, as implicit methods find their stages to an absolute 1e-8.
SCALE = 1e5
# The corrector of a multistep method stops by these tolerances; other methods with given steps ignore them.
TOLERANCES = {"rtol": 1e-11, "atol": 1e-11 * SCALE}
END = 2.0


def swinging(t, y):
    """A driven pendulum: the field is not linear and depends on time."""
    angle, speed = y / SCALE
    return SCALE * np.stack([speed, np.cos(2 * t) - 2 * np.sin(angle)])


def few_slopes(method):
    """Options that limit multistep methods to the order of their start; all 11 slopes make explicit ones unstable."""
    iterations = {"max_iters": 20} if METHODS[method].iterates else {}
    return {"max_order": METHODS[method].order + 1} | iterations if METHODS[method].remembers else {}


def solve(method, h, times, **options):
    """The states at `times` of a solve with steps of length h, in units of SCALE."""
    y0 = SCALE * np.array([1.0, 0.5])
    options = steps_of(method, h) | few_slopes(method) | options
    solution = odelet.odeint(swinging, y0, times, method=method, **TOLERANCES, options=options)
    return solution.raise_if_failed().outputs["y"] / SCALE


@cache
def exact():
    """The solution as a function of times; max_step makes the dense output exact to about 1e-13."""
    start = SCALE * np.array([1.0, 0.5])
    tight = {"rtol": 1e-12, "atol": 1e-12 * SCALE, "max_step": 0.04}
    dense = solve_ivp(swinging, (0, END + 1), start, method="DOP853", dense_output=True, **tight).sol
    return lambda times: dense(times).T / SCALE


def last_order(errors, *, above):
    """The exponent p of error ~ h^p, from the last halving of h whose errors are well above rounding."""
    large_errors = [error for error in errors if error > above]
    assert len(large_errors) >= 3
    return log2(large_errors[-2] / large_errors[-1])


@pytest.mark.parametrize("method", STEPPING)
def test_halving_the_step_shows_the_order(method):
    """The order follows from how much each halving changes the result (Richardson), without the exact solution."""
    several = METHODS[method].remembers
    ends = [solve(method, 2.0**-k, [0, END])[-1] for k in (range(4, 9) if several else range(1, 8))]
    changes = [np.abs(one - other).max() for one, other in zip(ends[:-1], ends[1:], strict=True)]
    # An implicit multistep method combines one slope more than its memory has.
    expected = order_of(method) + (several and METHODS[method].implicit)
    assert expected - 0.3 < last_order(changes, above=2e-13) < expected + 0.8


def between(h):
    """Output times within steps of length h, at several fractions of a step.

    The last time is the end of a step: the grid of fixed steps ends there, and multistep formulas need equal steps.
    """
    starts = np.arange(0, END, max(h, 0.125))
    return np.unique(np.concatenate([[0, END], *(starts + x * h for x in (0.2, 0.5, 0.7, 0.9))]))


def dense_output_order(method, **options):
    lengths = [2.0**-k for k in (range(4, 8) if METHODS[method].remembers else range(2, 6))]
    errors = [np.abs(solve(method, h, between(h), **options) - exact()(between(h))).max() for h in lengths]
    return last_order(errors, above=1e-10)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_dense_output_of_adaptive_methods_has_the_order_of_the_quartic(method):
    """The error of the quartic is of order h^5; with a middle state from half an Euler step, of order h^2."""
    expected = min(order_of(method), 5, MIDDLE_ORDERS.get(method, 1) + 1)
    assert dense_output_order(method) == pytest.approx(expected, abs=0.4)


INTERPOLANT_ORDERS = {"linear": 2, "cubic": 4}


@pytest.mark.parametrize("interpolant", INTERPOLANT_ORDERS)
@pytest.mark.parametrize("method", ON_GRID)
def test_outputs_between_fixed_steps_have_the_order_of_the_interpolant(method, interpolant):
    expected = min(order_of(method), INTERPOLANT_ORDERS[interpolant])
    assert dense_output_order(method, interp=interpolant) == pytest.approx(expected, abs=0.4)
