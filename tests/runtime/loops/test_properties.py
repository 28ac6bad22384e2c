"""Properties of `odelet.odeint` that hold for all times, directions, shapes and tolerances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rosters import ADAPTIVE, METHODS, ON_GRID, STEPPING

import odelet
from odelet.errors import InputError
from odelet.numerics.tableau import TABLEAUS

ITERATING = [name for name in METHODS if METHODS[name].iterates]
steady = settings(derandomize=True, deadline=None, max_examples=8)
every = pytest.mark.parametrize("method", STEPPING)
adaptive = pytest.mark.parametrize("method", ADAPTIVE)
# Methods without iterations: an iteration stops by an absolute tolerance, so that it depends on units.
direct = pytest.mark.parametrize("method", [name for name in STEPPING if name not in ITERATING])
# Methods for the test in which the steps of all rows follow from the norm of the whole batch.
together = pytest.mark.parametrize("method", ["dopri5", "bosh3", "rk4", "midpoint"])
exponents = st.floats(-6, -2)
gaps = st.lists(st.floats(0.01, 1), min_size=1, max_size=6)
scales = st.integers(-8, 8).map(lambda power: 2.0**power)


def pendulum(t, y):
    return np.stack([y[1], -np.sin(y[0]) + 0.3 * np.cos(2 * t)])


Y0 = np.array([1.0, 0.2])


def solve(field, y0, t, method, *, rtol=1e-4, atol=1e-5, **options):
    options = options or ({"step_size": 0.125} if method in ON_GRID else None)
    solution = odelet.odeint(field, y0, t, method=method, rtol=rtol, atol=atol, options=options)
    return solution.raise_if_failed()


def only(solution):
    (output,) = solution.outputs.values()
    return output


@every
@steady
@given(gaps)
def test_times_may_rise_or_fall_and_the_first_row_is_the_start(method, gaps):
    for sign in (1, -1):
        t = sign * np.cumsum([0, *gaps])
        rows = only(solve(pendulum, Y0, t, method))
        assert rows.shape == (len(t), 2)
        assert np.array_equal(rows[0], Y0)
        assert np.isfinite(rows).all()


@every
@steady
@given(gaps, st.data())
def test_times_that_turn_or_repeat_are_refused(method, gaps, data):
    t = np.cumsum([0, *gaps, 1])
    i = data.draw(st.integers(0, len(t) - 3))
    t[i + 2] = data.draw(st.sampled_from([t[i + 1], (t[i] + t[i + 1]) / 2, math.nan]))
    with pytest.raises(InputError, match=r"^t (must be strictly|holds times)"):
        solve(pendulum, Y0, t, method)


@pytest.mark.parametrize("method", [name for name in ADAPTIVE if TABLEAUS[name].reuses_last_stage])
@steady
@given(st.floats(0.1, 1.9), st.integers(1, 4))
def test_a_solve_continued_from_the_end_of_a_step_equals_the_whole_solve(method, h, steps):
    """This holds for methods whose last stage is the first slope of the next step."""
    h = float(np.float32(h)) / 8
    fixed_step = {"first_step": h, "min_step": h, "max_step": h}
    middle, end = steps * h, (steps + 3) * h
    whole = only(solve(pendulum, Y0, [0, middle, end], method, **fixed_step))
    half = only(solve(pendulum, Y0, [0, middle], method, **fixed_step))[-1]
    rest = only(solve(pendulum, half, [middle, end], method, **fixed_step))[-1]
    assert np.array_equal(whole[1], half)
    assert rest == pytest.approx(whole[2], rel=0, abs=1e-13)


@direct
@steady
@given(scales, exponents)
def test_a_state_in_other_units_takes_the_same_steps(method, scale, exponent):
    """The units differ by powers of two, which cause no rounding; the absolute tolerance has the same units."""

    def scaled(t, y):
        return scale * pendulum(t, y / scale)

    tolerance = 10.0**exponent
    plain = solve(pendulum, Y0, [0, 0.7, 2], method, rtol=tolerance, atol=tolerance, **first(method))
    other = solve(scaled, scale * Y0, [0, 0.7, 2], method, rtol=tolerance, atol=scale * tolerance, **first(method))
    assert np.array_equal(only(other), scale * only(plain))
    assert other.stats == plain.stats


def first(method):
    """Options that give the first step, as its estimate depends on units."""
    return {"first_step": 0.1} if method in ADAPTIVE else {"step_size": 0.3}


@every
@steady
@given(st.floats(-100, 100), exponents)
def test_a_solve_that_starts_later_gives_the_same_states(method, start, exponent):
    """This holds up to the rounding of times, as the field does not depend on time."""

    def field(t, y):
        return np.stack([y[1], -np.sin(y[0])])

    start, tolerance = round(start * 16) / 16, 10.0**exponent
    times = np.array([0, 0.5, 1.5])
    early = solve(field, Y0, times, method, rtol=tolerance, atol=tolerance)
    late = solve(field, Y0, start + times, method, rtol=tolerance, atol=tolerance)
    assert late.stats.evaluations == early.stats.evaluations
    # Dense output of long steps of dopri8 differs by more than rounding where their ends differ; see test_odeint.py.
    assert only(late) == pytest.approx(only(early), rel=0, abs=1e-7 if method == "dopri8" else 1e-10)


@together
@steady
@given(st.permutations(range(5)), st.integers(0, 99))
def test_rows_in_another_order_give_the_same_answers_in_that_order(method, order, seed):
    y0 = np.random.default_rng(seed).normal(size=(5, 2))

    def field(t, y):
        return np.stack([y[:, 1], -np.sin(y[:, 0]) * np.cos(t)], axis=1)

    plain, other = (solve(field, batch, [0, 1, 2], method) for batch in (y0, y0[list(order)]))
    assert other.stats.steps == plain.stats.steps
    # The norm adds the rows in another order.
    assert only(other) == pytest.approx(only(plain)[:, list(order)], rel=0, abs=1e-11)


@every
@steady
@given(st.integers(1, 3), exponents)
def test_equal_parts_of_a_tuple_are_solved_like_one_part_alone(method, parts, exponent):
    """The norm of equal parts is the norm of each, so that the steps agree, and all bits unless the method iterates.

    A multistep method multiplies matrices of slopes, whose columns are summed in an order that depends on how many
    there are; with explicit formulas this rounding is 5e-14 here.
    """
    tolerance = 10.0**exponent
    alone = solve(pendulum, Y0, [0, 1, 2], method, rtol=tolerance, atol=tolerance)
    both = solve(
        lambda t, ys: tuple(pendulum(t, y) for y in ys),
        (Y0,) * parts,
        [0, 1, 2],
        method,
        rtol=tolerance,
        atol=tolerance,
    )
    rounding = 1e-12 if METHODS[method].remembers else 0
    assert both.stats.steps == alone.stats.steps
    for output in both.outputs.values():
        assert output == pytest.approx(only(alone), rel=0, abs=1e-7 if method in ITERATING else rounding)


@adaptive
@steady
@given(st.floats(-6, -2.5))
def test_a_tighter_tolerance_takes_more_work_and_gives_no_larger_error(method, exponent):
    """On a smooth linear problem, ten times tighter never takes less work, and the error is at most 1.5 times as large.

    The error at one tolerance can be small by chance, where it changes its sign, so that errors are means over five
    tolerances that lie a fifth of a decade apart.
    """
    tolerances = [10.0 ** (exponent - k / 5) for k in range(10)]
    errors, evaluations = [], []
    for tolerance in tolerances:
        # Steps are short, as the error of dense output would exceed that of dopri8 otherwise.
        solution = solve(
            lambda t, y: np.stack([y[1], -y[0]]),
            np.array([1.0, 0.0]),
            [0, 3],
            method,
            rtol=tolerance,
            atol=tolerance,
            first_step=0.05,
            max_step=0.4,
        )
        errors.append(np.abs(only(solution)[-1] - [math.cos(3), -math.sin(3)]).max())
        evaluations.append(solution.stats.evaluations)
    assert all(evaluations[k + 5] >= evaluations[k] for k in range(5))
    assert np.mean(errors[5:]) <= 1.5 * np.mean(errors[:5]) + 1e-9


@adaptive
@steady
@given(st.integers(2, 400), st.floats(0.5, 3))
def test_thousands_of_output_times_cost_no_evaluation(method, count, end):
    few = solve(pendulum, Y0, [0, end], method)
    many = solve(pendulum, Y0, np.linspace(0, end, 5 * count), method)
    assert many.stats.evaluations == few.stats.evaluations
    assert np.array_equal(only(many)[-1], only(few)[-1])


@every
@steady
@given(st.floats(-50, 50))
def test_with_one_output_time_the_output_is_the_start_without_a_step(method, start):
    solution = solve(pendulum, Y0, [start], method)
    assert np.array_equal(only(solution), Y0[None])
    assert solution.stats.steps == 0
