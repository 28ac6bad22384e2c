"""Solves that fail in a form report the status, the time and the steps of the failure, and NaN outputs from there."""

from dataclasses import replace

import numpy as np
import pytest
from support.lowering import Case, forms_of, inputs

import odelet
from odelet.status import Status

TIMES = (0.0, 0.1, 0.5, 1.0)
X = inputs("float64", 3, seed=1)


def formed(case, folder):
    """The name and the loaded model of each form that the case can have."""
    for form in forms_of(case):
        yield form, replace(case, form=form).load(folder / form)


def rows_are_nan(solution, *, after):
    """Whether exactly the rows from `after` on are NaN; a driven solve that fails has no outputs."""
    return all(
        np.isfinite(output[:after]).all() and np.isnan(output[after:]).all() for output in solution.outputs.values()
    )


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
@pytest.mark.parametrize("times", [TIMES, (0.0, 1.0), None])
def test_an_input_that_is_not_finite_ends_the_solve_at_its_start(times, method, tmp_path):
    for form, model in formed(Case(method=method, times=times), tmp_path):
        for value in (np.nan, np.inf):
            x = X.copy()
            x[1, 2] = value
            given = (x,) if times else (x, np.array(TIMES))
            solution = model.solve(*given)
            assert solution.status is Status.NOT_FINITE
            assert solution.stats.solves[0].time == 0
            assert method == "rk4" or solution.stats.steps == 0
            assert all(np.isnan(output[1:]).any() for output in solution.outputs.values())
            assert bool(solution.outputs) == (form != "driven")
            with pytest.raises(
                odelet.SolveError, match=rf"solve 0 \({method}, .*lowering.py:\d+\) stopped at time 0: "
            ):
                model(*given)


@pytest.mark.parametrize("times", [TIMES, None])
@pytest.mark.parametrize("pair", [False, True])
def test_a_step_limit_of_a_call_ends_the_solve(pair, times, tmp_path):
    given = (X,) if times else (X, np.array(TIMES))
    reached = {}
    for form, model in formed(Case(method="dopri5", pair=pair, times=times), tmp_path):
        solution = model.solve(*given, max_steps=3)
        (stats,) = solution.stats.solves
        assert (solution.status, stats.steps) == (Status.STEP_LIMIT, 3)
        assert 0.1 < stats.time < 0.5
        assert rows_are_nan(solution, after=2)
        reached[form] = stats.time
    assert reached["adaptive"] == pytest.approx(reached["driven"], rel=1e-12)


def test_a_step_limit_of_an_export_can_be_raised_in_a_call(tmp_path):
    for _, model in formed(Case(method="dopri5", times=TIMES, max_steps=4), tmp_path):
        assert model.solve(X).status is Status.STEP_LIMIT
        assert model.solve(X, max_steps=100).status is Status.OK


@pytest.mark.parametrize("times", [(0.0, 1.0), (0.0, 0.02, 1.0)])
def test_max_num_steps_limits_the_steps_between_output_times(times, tmp_path):
    case = Case(method="bosh3", times=times, options=(("max_num_steps", 5),))
    with pytest.raises(AssertionError, match=r"max_num_steps exceeded \(5>=5\)"):
        case.torch(X)
    ends = set()
    for _, model in formed(case, tmp_path):
        solution = model.solve(X)
        assert solution.status is Status.STEP_LIMIT
        assert rows_are_nan(solution, after=len(times) - 1)
        ends.add((solution.stats.steps, round(solution.stats.solves[0].time, 12)))
    assert len(ends) == 1


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("times", [(0.0, 1.0), TIMES])
def test_a_step_that_does_not_move_time_ends_the_solve(times, direction, tmp_path):
    far = tuple(direction * (1e10 + t) for t in times)
    case = Case(method="dopri5", times=far, options=(("first_step", 1e-9),))
    with pytest.raises(AssertionError, match="underflow in dt"):
        case.torch(X)
    for _, model in formed(case, tmp_path):
        solution = model.solve(X)
        assert (solution.status, solution.stats.steps) == (Status.STEP_UNDERFLOW, 0)
        assert solution.stats.solves[0].time == direction * 1e10
        assert rows_are_nan(solution, after=1)


WRONG_TIMES = [
    (0.0, 0.0),
    (1.0, 1.0, 1.0),
    (0.0, 1.0, 0.5),
    (1.0, 0.0, 0.5),
    (0.0, 2.0, 2.0),
    (0.0, np.nan, 1.0),
    (0.0, 1.0, np.nan),
    (np.nan, 0.5, 1.0),
]


@pytest.mark.parametrize(
    ("method", "options"),
    [("dopri5", ()), ("rk4", ()), ("rk4", (("step_size", 0.3),)), ("rk4", (("steps", 3),))],
    ids=["dopri5", "rk4", "rk4-step_size", "rk4-steps"],
)
def test_times_that_are_not_monotone_are_an_input_error(method, options, tmp_path):
    """The driver refuses them before its first step; a graph says that it met them."""
    message = "t (must be strictly|holds times that are not finite)|'t' holds output times that are not"
    for _, model in formed(Case(method=method, options=options), tmp_path):
        for t in WRONG_TIMES:
            with pytest.raises(odelet.InputError, match=message):
                model.solve(X, np.array(t))
        with pytest.raises(
            odelet.InputError, match=r"input 't' holds no output time; give|t must be a 1-D array of at least one time"
        ):
            model.solve(X, np.zeros(0))


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_after_an_overflow_the_next_step_has_the_length_min_step(method, tmp_path):
    """After a step so long that the slopes overflow, the next one has the length min_step, as in torchdiffeq."""
    options = (("first_step", 1e308), ("min_step", 0.05))
    case = Case(method=method, times=TIMES, pair=True, options=options)
    theirs = case.torch(X)
    assert theirs.steps > theirs.accepted
    for _, model in formed(case, tmp_path):
        ours = model.solve(X)
        assert (ours.stats.steps, ours.stats.accepted) == (theirs.steps, theirs.accepted)
        for output, wanted in zip(ours.outputs.values(), theirs.outputs, strict=True):
            assert np.abs(output - wanted).max() < 1e-12 * np.abs(wanted).max()
