"""Dense output: the points and slopes of the quartic, its order, and its equality with torchdiffeq's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.one_step import finest, slope_of, smooth, solution, step
from support.rosters import ADAPTIVE, MIDDLE_ORDERS
from torchdiffeq._impl.interp import _interp_evaluate, _interp_fit

from odelet.numerics.backend import NUMPY
from odelet.numerics.interpolation import linear, quartic
from odelet.numerics.tableau import TABLEAUS

steady = settings(derandomize=True, deadline=None, max_examples=200)
numbers = st.floats(-1e3, 1e3)
fractions = st.floats(0, 1)


def rows(seed, count=5, size=4, dtype=np.float64):
    return list(np.random.default_rng(seed).normal(size=(count, 1, size)).astype(dtype))


def test_the_quartic_has_the_given_ends_middle_and_slopes():
    y0, y1, mid, k0, k1 = rows(0)
    h = 0.7

    def read(x):
        return quartic(x, h, y0, y1, mid, k0, k1)

    assert np.array_equal(read(0.0), y0)
    assert np.array_equal(read(1.0), y1)
    assert read(0.5) == pytest.approx(mid, rel=0, abs=1e-14)
    # A complex step gives the derivative of a polynomial up to rounding.
    tiny = 1e-30
    assert read(0.0 + 1j * tiny).imag / tiny == pytest.approx(h * k0, rel=0, abs=1e-14)
    assert read(1.0 + 1j * tiny).imag / tiny == pytest.approx(h * k1, rel=0, abs=1e-14)


@steady
@given(st.lists(numbers, min_size=5, max_size=5), fractions, st.floats(1e-3, 1e3))
def test_the_quartic_is_exact_for_quartics(coefficients, x, h):
    p = np.polynomial.Polynomial(coefficients)
    slope = p.deriv()
    read = quartic(x, h, p(0.0), p(1.0), p(0.5), slope(0.0) / h, slope(1.0) / h)
    assert read == pytest.approx(p(x), rel=0, abs=1e-13 * (1 + np.abs(coefficients).sum()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_quartic_at_the_end_of_a_step_is_exactly_the_state(dtype):
    for seed in range(20):
        y0, y1, mid, k0, k1 = (1e3 * row for row in rows(seed, dtype=dtype))
        read = quartic(dtype(1), dtype(0.3), y0, y1, mid, k0, k1)
        assert read.dtype == dtype
        assert np.array_equal(read, y1)
        assert np.array_equal(linear(dtype(1), y0, y1), y1)


@pytest.mark.parametrize("h", [0.25, -0.25])
def test_the_quartic_equals_the_polynomial_of_torchdiffeq(h):
    parts = rows(3)
    y0, y1, mid, k0, k1 = map(torch.from_numpy, parts)
    coefficients = _interp_fit(y0, y1, mid, k0, k1, torch.tensor(h, dtype=torch.float64))
    start, end = torch.tensor([2.0, 2.0 + abs(h)], dtype=torch.float64)
    for x in np.linspace(0, 1, 11):
        theirs = _interp_evaluate(coefficients, start, end, start + x * (end - start))
        assert quartic(x, h, *parts) == pytest.approx(theirs.numpy(), rel=0, abs=1e-13)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_dense_output_has_the_measured_order(name):
    """The error within a step of length h is of order h^5, or h^(1 + the order of the middle state) if that is less."""
    tableau, start = TABLEAUS[name], 0.3
    expected = min(4, MIDDLE_ORDERS.get(name, 1)) + 1
    y0 = solution(start)

    def error(h):
        y1, ks = step(smooth, tableau, start, y0, h)
        mid = NUMPY.combine(y0, np.float64(h), tableau.mid, ks)
        read = [quartic(x, h, y0, y1, mid, ks[0], ks[-1]) - solution(start + x * h) for x in (0.3, 0.6, 0.8)]
        return (np.abs(read).max(),)

    lengths, errors = finest(error, [2.0**-k for k in range(1, 10)])
    assert slope_of(lengths, errors) == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_states_and_slopes_are_continuous_across_steps(name):
    tableau, h, tiny = TABLEAUS[name], 0.1, 1e-30
    y0, k0 = solution(0), smooth(0, solution(0))
    before = None
    for i in range(3):
        y1, ks = step(smooth, tableau, i * h, y0, h, k0)
        mid = NUMPY.combine(y0, np.float64(h), tableau.mid, ks)
        left, right = (quartic(x + 1j * tiny, h, y0, y1, mid, ks[0], ks[-1]) for x in (0.0, 1.0))
        if before is not None:
            assert left.real == pytest.approx(before.real, rel=0, abs=1e-15)
            assert left.imag == pytest.approx(before.imag, rel=1e-12)
        before, y0, k0 = right, y1, ks[-1]


@steady
@given(fractions, numbers, numbers)
def test_the_straight_line_stays_between_its_ends(x, a, b):
    read = linear(x, np.float64(a), np.float64(b))
    assert read == pytest.approx((1 - x) * a + x * b, rel=0, abs=1e-12)
    assert min(a, b) - 1e-12 <= read <= max(a, b) + 1e-12
