"""One Runge-Kutta step: its arithmetic, its measured order, its error estimate, the time of its last stage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.one_step import finest, slope_of, smooth, solution, step
from support.rosters import ADAPTIVE

from odelet.numerics.backend import NUMPY
from odelet.numerics.rk import erk_step, stage_times, towards_start
from odelet.numerics.tableau import TABLEAUS

every = pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=TABLEAUS)
adaptive = pytest.mark.parametrize("tableau", [TABLEAUS[name] for name in ADAPTIVE], ids=ADAPTIVE)
steady = settings(derandomize=True, deadline=None, max_examples=300)


class Recorder:
    """A field whose slopes are the unit vectors, in the order of its calls."""

    def __init__(self, size, *, first=0):
        self.size, self.first = size, first
        self.times, self.states = [], []

    def __call__(self, t, y):
        self.times.append(t)
        self.states.append(y)
        return np.eye(self.size)[None, self.first + len(self.states) - 1]


@every
def test_stages_combine_slopes_by_the_rows_of_the_tableau(tableau):
    field, n = Recorder(tableau.stages), tableau.stages
    y1, ks = step(field, tableau, 2.0, np.zeros((1, n)), 0.5)
    assert len(field.states) == len(ks) == n
    for row, state in zip(tableau.a, field.states, strict=True):
        assert state[0].tolist() == [*(0.5 * np.array(row)), *[0] * (n - len(row))]
    assert y1[0] == pytest.approx(0.5 * np.array(tableau.b), rel=0, abs=1e-16)
    assert np.array_equal(np.concatenate(ks), np.eye(n))


@every
def test_stage_times_follow_from_the_nodes_and_the_given_end(tableau):
    field = Recorder(tableau.stages)
    step(field, tableau, 2.0, np.zeros((1, tableau.stages)), 0.5, t1=2.4375)
    assert field.times == [2.4375 if node == 1 else 2.0 + 0.5 * node for node in tableau.c]


@every
def test_a_known_first_slope_is_not_evaluated_again(tableau):
    n = tableau.stages
    field, k0 = Recorder(n, first=1), np.eye(n)[None, 0]
    y1, ks = step(field, tableau, 2.0, np.zeros((1, n)), 0.5, k0)
    again, _ = step(Recorder(n), tableau, 2.0, np.zeros((1, n)), 0.5)
    assert len(field.states) == n - 1
    assert ks[0] is k0
    assert np.array_equal(y1, again)


@pytest.mark.parametrize("name", [name for name, tableau in TABLEAUS.items() if tableau.reuses_last_stage])
def test_the_last_stage_is_taken_at_the_new_state_itself(name):
    field = Recorder(TABLEAUS[name].stages)
    y1, _ = step(field, TABLEAUS[name], 0.0, np.ones((1, field.size)), 0.1)
    assert y1 is field.states[-1]


@every
@pytest.mark.parametrize("time", ["float32", "float64"])
@pytest.mark.parametrize("state", ["float32", "float64"])
def test_time_and_state_keep_their_own_dtypes(tableau, time, state):
    times, states = [], []

    def field(t, y):
        times.append(t)
        states.append(y)
        return np.cos(y)

    t, h = np.dtype(time).type(1 / 3), np.dtype(time).type(0.1)
    y1, _ = erk_step(field, tableau, stage_times(tableau, t, t + h, h), np.ones((1, 2), state), h, None, xp=NUMPY)
    assert {t.dtype for t in times} == {np.dtype(time)}
    assert {y.dtype for y in [*states, y1]} == {np.dtype(state)}


@every
def test_measured_order_is_the_declared_one(tableau):
    def error(h):
        y = solution(0)
        for i in range(round(2 / h)):
            y, _ = step(smooth, tableau, i * h, y, h)
        return (np.abs(y - solution(2)).max(),)

    lengths, errors = finest(error, [2 / count for count in (5, 7, 10, 14, 20, 28, 40, 56, 80)], above=3e-13)
    assert slope_of(lengths, errors) == pytest.approx(tableau.propagated or tableau.order, abs=0.4)


@adaptive
def test_the_error_estimate_is_the_true_error_of_the_embedded_method(tableau):
    """The estimate is y1 - low. As y1 is of one order more than low, the estimate tends to the error of low."""
    start = 0.3

    sign = -1 if tableau.propagated else 1  # where lower weights are propagated, y1 is low itself

    def estimated(h):
        y1, ks = step(smooth, tableau, start, solution(start), h)
        estimate = NUMPY.combine(None, np.float64(h), tableau.b_err, ks)
        truth = sign * (solution(start + h) - (y1 if tableau.propagated else y1 - estimate))
        return np.abs(estimate).max(), np.abs(estimate / truth - 1).max()

    lengths, estimates, ratios = finest(estimated, [2.0**-k for k in range(1, 14)])
    assert ratios[2] < 0.1
    assert ratios[2] < ratios[1] < ratios[0]
    assert slope_of(lengths, estimates) == pytest.approx(tableau.order, abs=0.35)


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_time_before_the_end_of_a_step_is_the_next_float(dtype, direction):
    info = np.finfo(dtype)
    width = 32 if dtype is np.float32 else 64
    largest = float(info.max / 2)
    smallest = 1e-31 if dtype is np.float32 else 1e-291

    @steady
    @given(st.floats(-largest, largest, width=width).filter(lambda t: abs(t) > smallest))
    def check(t):
        t = dtype(t)
        neighbour = towards_start(t, dtype(direction), xp=NUMPY, like=np.zeros(1, dtype))
        assert neighbour.dtype == dtype
        assert neighbour == np.nextafter(t, dtype(-direction * np.inf))

    check()


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", [0.0, 1.0, -1.0, 0.5, 2.0, 1024.0, 1 - 2**-24, 0.1, 3.0e7])
def test_the_time_before_the_end_of_a_step_at_powers_of_two_and_zero(t, dtype, direction):
    t = dtype(t)
    neighbour = towards_start(t, dtype(direction), xp=NUMPY, like=np.zeros(1, dtype))
    assert neighbour == np.nextafter(t, dtype(-direction * np.inf))
