"""Calls of odelet.odeint: properties that hold for all times, states and directions, and refusals of bad arguments."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from support.problems import PROBLEMS
from support.rosters import ADAPTIVE, FIXED

import odelet
from odelet.errors import InputError
from odelet.numerics.tableau import TABLEAUS

steady = settings(derandomize=True, deadline=None, max_examples=15)
every = pytest.mark.parametrize("method", TABLEAUS)
times = st.lists(st.floats(0.01, 1.99), min_size=0, max_size=5, unique=True).map(sorted)
van_der_pol = PROBLEMS["E2"].on(np)
Y0 = np.array([2.0, 0.0])


def solve(field, y0, t, method, **options):
    return odelet.odeint(field, y0, t, method=method, rtol=1e-3, atol=1e-4, options=options or None)


@pytest.mark.parametrize("method", ADAPTIVE)
@steady
@given(times)
def test_output_times_do_not_change_the_steps(method, between):
    alone = solve(van_der_pol, Y0, [0, 2], method)
    solution = solve(van_der_pol, Y0, [0, *between, 2], method)
    assert solution.stats.solves == alone.stats.solves
    assert np.array_equal(solution.outputs["y"][[0, -1]], alone.outputs["y"])


@pytest.mark.parametrize("method", ADAPTIVE)
@steady
@given(times)
def test_an_output_does_not_depend_on_other_output_times(method, between):
    solution = solve(van_der_pol, Y0, [0, *between, 2], method)
    for time, row in zip(between, solution.outputs["y"][1:], strict=False):
        assert np.array_equal(solve(van_der_pol, Y0, [0, time], method).outputs["y"][1], row)


@pytest.mark.parametrize("method", FIXED)
@steady
@given(times)
def test_a_fixed_step_solve_can_be_split_at_any_output_time(method, between):
    t = [0, *between, 2]
    whole = solve(van_der_pol, Y0, t, method).outputs["y"]
    y = Y0
    for start, end, row in zip(t[:-1], t[1:], whole[1:], strict=True):
        y = solve(van_der_pol, y, [start, end], method).outputs["y"][1]
        assert np.array_equal(y, row)


@pytest.mark.parametrize("method", FIXED)
@steady
@given(times)
def test_output_times_do_not_change_fixed_steps_of_a_given_size(method, between):
    alone = solve(van_der_pol, Y0, [0, 2], method, step_size=0.3)
    solution = solve(van_der_pol, Y0, [0, *between, 2], method, step_size=0.3)
    assert solution.stats.solves == alone.stats.solves
    assert np.array_equal(solution.outputs["y"][-1], alone.outputs["y"][-1])


@every
@steady
@given(st.floats(-5, 5), times)
def test_a_reversed_solve_is_a_solve_of_the_negated_field(method, start, between):
    """The stage times are mirrored exactly, so that the solutions agree to the last bit."""
    t = start + np.array([0, *between, 2.5])
    if not (np.diff(t) > 0).all():
        return

    def field(t, y):
        return np.stack([y[1] * np.cos(t), -y[0]])

    options = {"step_size": 0.4} if method in FIXED else {}
    forward = solve(field, Y0, t, method, **options)
    backward = solve(lambda t, y: -field(-t, y), Y0, -t, method, **options)
    assert np.array_equal(forward.outputs["y"], backward.outputs["y"])
    assert forward.stats.steps == backward.stats.steps
    assert forward.stats.solves[0].time == -backward.stats.solves[0].time


@every
@steady
@given(array_shapes(min_dims=0, max_dims=4, max_side=3), st.sampled_from(["float32", "float64"]))
def test_a_state_of_any_shape_is_solved_like_the_flat_state(method, shape, dtype):
    y0 = np.linspace(0.5, 1.5, math.prod(shape)).astype(dtype).reshape(shape)
    seen = []

    def field(t, y):
        seen.append((t.dtype, np.shape(t), y.dtype, y.shape))
        return -y * y

    before = y0.copy()
    solution = solve(field, y0, [0, 0.5, 1], method).outputs["y"]
    assert set(seen) == {(np.dtype(dtype), (), np.dtype(dtype), shape)}
    assert (solution.shape, solution.dtype) == ((3, *shape), np.dtype(dtype))
    assert np.array_equal(y0, before)
    if shape == () and dtype == "float32":
        return  # the error ratio of a single number is computed in float64, as in torchdiffeq
    flat = solve(lambda t, y: -y * y, y0.ravel(), [0, 0.5, 1], method).outputs["y"]
    assert np.array_equal(solution.reshape(flat.shape), flat)


@every
def test_a_tuple_of_one_part_is_solved_like_the_part(method):
    alone = solve(van_der_pol, Y0, [0, 1, 2], method)
    pair = solve(lambda t, y: (van_der_pol(t, y[0]),), (Y0,), [0, 1, 2], method)
    assert list(pair.outputs) == ["y_0"]
    assert np.array_equal(pair.outputs["y_0"], alone.outputs["y"])
    assert pair.stats == alone.stats


@every
def test_a_state_without_elements_is_solved(method):
    solution = solve(lambda t, y: -y, np.zeros((0, 3)), [0, 1], method)
    assert solution.status is odelet.Status.OK
    assert solution.outputs["y"].shape == (2, 0, 3)


@every
def test_evaluations_are_the_calls_of_the_field(method):
    calls = []

    def field(t, y):
        calls.append(t)
        return van_der_pol(t, y)

    for options in ({"step_size": 0.3}, {}) if method in FIXED else ({"first_step": 0.1}, {}):
        calls.clear()
        assert solve(field, Y0, [0, 0.7, 2], method, **options).stats.evaluations == len(calls)


def test_states_and_times_may_be_numbers_and_lists():
    solution = odelet.odeint(lambda t, y: [-y[0]], [1.0], [0, 1])
    assert solution.outputs["y"][-1] == pytest.approx([math.exp(-1)], abs=1e-7)
    assert odelet.odeint(lambda t, y: -y, 1.0, [0, 1]).outputs["y"].shape == (2,)


def test_the_stats_describe_the_solve():
    (stats,) = solve(van_der_pol, Y0, [0, 2], "bosh3").stats.solves
    assert (stats.index, stats.method, stats.form, stats.source) == (0, "bosh3", "driven", "")
    assert stats.steps == stats.accepted + stats.rejected
    assert stats.rejected > 0
    assert stats.evaluations == 2 + 3 * stats.steps


WRONG = {
    "method": ({"method": "rk5"}, "method='rk5' is not one of euler, .*dopri5"),
    "integers": ({"y0": np.array([1, 2])}, r"y0 must be a float32 or float64 array, .* got \['int64'\]"),
    "half precision": ({"y0": np.ones(2, np.float16)}, r"got \['float16'\]"),
    "no parts": ({"y0": ()}, r"y0 must be .*; got \[\]"),
    "two dtypes": (
        {"y0": (np.ones(2), np.ones(2, np.float32))},
        r"parts of y0 must have one dtype; got \['float64', 'float32'\]",
    ),
    "no times": ({"t": []}, r"t must be a 1-D array of at least one time"),
    "times twice": ({"t": [0, 0]}, "t must be strictly increasing or strictly decreasing"),
    "a time that is NaN": ({"t": [0, math.nan]}, "t holds times that are not finite"),
    "negative rtol": ({"rtol": -1e-3}, r"rtol=-0\.001 must be finite and not negative"),
    "infinite atol": ({"atol": math.inf}, "atol=inf must be finite"),
    "rtol NaN": ({"rtol": math.nan}, "rtol=nan must be finite"),
    "unknown option": (
        {"options": {"step": 1}},
        r"options step are not known for method 'dopri5'; known are .*jump_t, .*max_step",
    ),
    "option of others": ({"options": {"step_size": 0.1}}, "options step_size are not known for method 'dopri5'"),
    "adaptive's": (
        {"method": "rk4", "options": {"max_step": 0.1}},
        "known are grid_constructor, interp, perturb, step_size, steps",
    ),
    "bad option": ({"options": {"min_step": -1.0}}, r"options: min_step=-1\.0 must be between 0 and"),
    "bad step_size": ({"method": "euler", "options": {"step_size": 0.0}}, r"options: step_size=0\.0 must be positive"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_arguments_that_cannot_work_are_refused(changes, message):
    arguments = {"field": lambda t, y: y, "y0": np.ones(2), "t": [0, 1]} | changes
    with pytest.raises(InputError, match=message):
        odelet.odeint(**arguments)


@every
def test_slopes_of_another_shape_are_refused(method):
    with pytest.raises(
        InputError, match=r"field returned slopes of shapes \[\(3,\)\] for a state of shapes \[\(2,\)\]"
    ):
        odelet.odeint(lambda t, y: np.ones(3), np.ones(2), [0, 1], method=method)
    with pytest.raises(InputError, match=r"slopes of shapes \[\(2,\)\] for a state of shapes \[\(2,\), \(1,\)\]"):
        odelet.odeint(lambda t, y: (y[0],), (np.ones(2), np.ones(1)), [0, 1], method=method)


def test_fixed_step_methods_ignore_tolerances_as_in_torchdiffeq():
    loose, tight = (odelet.odeint(van_der_pol, Y0, [0, 1], method="rk4", rtol=rtol) for rtol in (1, 1e-9))
    assert np.array_equal(loose.outputs["y"], tight.outputs["y"])
