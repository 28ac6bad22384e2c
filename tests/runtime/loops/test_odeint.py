"""odelet.odeint takes the same steps as torchdiffeq.odeint, and in float64 gives the same values up to rounding."""

import numpy as np
import pytest
import torch
from support.problems import PROBLEMS, torch_solve
from support.rosters import ADAPTIVE, FIXED

import odelet
from odelet.numerics.tableau import TABLEAUS

# The estimated first step is so short that the error estimate of dopri8 is only rounding, which then decides
# the length of the second step. With a given first step, all later lengths agree but for the last places.
FIRST_STEP = {"dopri8": {"first_step": 0.5}}
# How far the values may be apart: dense output differs by more than rounding where the ends of steps differ.
APART = {"dopri8": 1e-10}


def counts(solution):
    """Steps, accepted steps and evaluations of a solution of ours or of torch_solve."""
    if isinstance(solution, odelet.Solution):
        solution = solution.stats
    return solution.steps, solution.accepted, solution.evaluations


def distance(ours, theirs):
    """The largest difference of two solutions, over the largest element of the second."""
    outputs = ours.outputs if isinstance(ours.outputs, list) else ours.outputs.values()
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-9) for a, b in zip(outputs, theirs.outputs, strict=True))


def both(field, y0, t, **settings):
    """The solutions of odelet and of torchdiffeq; field takes numpy or torch before t and y."""
    theirs = torch_solve(lambda t, y: field(torch, t, y), y0, t, **settings)
    return odelet.odeint(lambda t, y: field(np, t, y), y0, t, **settings), theirs


@pytest.mark.parametrize("method", ADAPTIVE)
def test_the_steps_agree_after_an_estimated_first_step(method):
    """With dopri8 the values differ by the error of its dense output between steps; see FIRST_STEP."""
    settings = {"method": method, "rtol": 1e-5, "atol": 1e-5}
    for name in ("B1", "B4", "D1"):
        y0 = np.array(PROBLEMS[name].y0, float)
        ours, theirs = both(PROBLEMS[name].field, y0, np.linspace(0, 4, 7), **settings)
        assert counts(ours) == counts(theirs)
        assert distance(ours, theirs) < (1e-6 if method == "dopri8" else 1e-11)


@pytest.mark.parametrize("name", ["A3", "B1", "D3", "E2"])
@pytest.mark.parametrize("method", ADAPTIVE)
def test_with_given_steps_all_methods_agree_up_to_rounding(method, name):
    problem, options = PROBLEMS[name], {"first_step": 0.1, "min_step": 0.1, "max_step": 0.1}
    ours, theirs = both(
        problem.field, np.array(problem.y0, float), [0, 0.33, 1.0, 1.98], method=method, options=options
    )
    assert counts(ours) == counts(theirs)
    assert ours.stats.steps == 20
    assert distance(ours, theirs) < 2e-14


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", FIXED)
def test_fixed_step_methods_agree_on_published_problems(method, name):
    problem = PROBLEMS[name]
    y0 = np.array(problem.y0, float)
    for t, options in (([0, 0.2, 0.3, 0.7], None), ([0, 0.25, 0.3, 0.9], {"step_size": 0.1}), ([0.5], None)):
        ours, theirs = both(problem.field, y0, t, method=method, options=options)
        assert ours.status is odelet.Status.OK
        assert counts(ours) == counts(theirs)
        assert distance(ours, theirs) < 2e-15


@pytest.mark.parametrize("method", TABLEAUS)
def test_times_may_decrease(method):
    options = None if method in FIXED else FIRST_STEP.get(method)
    for name in ("A3", "B1", "E1", "E3"):
        y0 = np.array(PROBLEMS[name].y0, float)
        ours, theirs = both(
            PROBLEMS[name].field, y0, [0.6, 0.5, -0.1, -0.4], method=method, rtol=1e-4, atol=1e-4, options=options
        )
        assert counts(ours) == counts(theirs)
        assert distance(ours, theirs) < APART.get(method, 1e-12)
        assert ours.stats.solves[0].time <= -0.4


def pair_field(xp, t, state):
    """The slope of a state of a matrix, a number and a vector, each of which depends on the others."""
    y, s, v = state
    return xp.stack([y[1], -y[0] * (1 + s * s)]), xp.sin(t) - 0.2 * v.sum(), y[0] - 0.1 * v


PAIR = (np.array([[1.0, 0.0], [0.0, 0.5]]), np.array(0.3), np.array([1.0, -2.0]))


@pytest.mark.parametrize("t", [[0, 0.5, 2.0], [2.0, 0.3]], ids=["increasing", "decreasing"])
@pytest.mark.parametrize("method", TABLEAUS)
def test_the_state_may_be_a_tuple(method, t):
    options = {"step_size": 0.15} if method in FIXED else FIRST_STEP.get(method)
    ours, theirs = both(pair_field, PAIR, t, method=method, rtol=1e-5, atol=1e-4, options=options)
    assert list(ours.outputs) == ["y_0", "y_1", "y_2"]
    assert [y.shape for y in ours.outputs.values()] == [(len(t), *part.shape) for part in PAIR]
    assert counts(ours) == counts(theirs)
    assert distance(ours, theirs) < APART.get(method, 1e-12)


@pytest.mark.parametrize("name", ["A3", "B1", "B5", "D1", "E2"])
@pytest.mark.parametrize("method", TABLEAUS)
def test_float32_states_agree_within_the_solvers_tolerance(method, name):
    tolerance = 1e-3
    problem, options = PROBLEMS[name], {"step_size": 0.1} if method in FIXED else None
    y0 = np.array(problem.y0, np.float32)
    ours, theirs = both(
        problem.field, y0, [0, 0.5, 3.0], method=method, rtol=tolerance, atol=tolerance, options=options
    )
    assert ours.outputs["y"].dtype == np.float32
    # Rounding decides where the first steps end, and thus the error of dense output, within the tolerance.
    assert method in ADAPTIVE or counts(ours) == counts(theirs)
    # The dense output of tsit5 with the weights of order 4 is ten times less exact than its steps.
    read_out = 100 if method == "tsit5_torchdiffeq" else 10
    assert distance(ours, theirs) < (1e-5 if method in FIXED else read_out * tolerance)


@pytest.mark.parametrize("time", ["float32", "float64"])
@pytest.mark.parametrize("state", ["float32", "float64"])
@pytest.mark.parametrize("method", TABLEAUS)
def test_times_and_state_may_have_different_dtypes(method, state, time):
    t = np.array([0.1, 0.4, 1.3], time)
    options = {"step_size": 0.17} if method in FIXED else {"first_step": 0.1, "min_step": 0.1, "max_step": 0.1}
    ours, theirs = both(PROBLEMS["A3"].field, np.ones(2, state), t, method=method, options=options)
    assert ours.outputs["y"].dtype == state
    assert counts(ours) == counts(theirs)
    # torchdiffeq's quartic in powers of x loses a digit.
    assert distance(ours, theirs) < 40 * np.finfo(state).eps


OPTIONS = {
    "first_step": {"first_step": 0.07},
    "min_step": {"min_step": 0.05},
    "max_step": {"max_step": 0.06},
    "safety": {"safety": 0.7},
    "ifactor": {"ifactor": 1.5},
    "dfactor": {"dfactor": 0.6, "first_step": 2.0},
    "factors": {"safety": 0.5, "ifactor": 3.0, "dfactor": 0.4},
    "max_num_steps": {"max_num_steps": 300},
    "recovery": {"first_step": 30.0, "min_step": 0.01},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("method", ADAPTIVE)
def test_options_have_the_effect_that_they_have_in_torchdiffeq(method, options):
    options = FIRST_STEP.get(method, {}) | options
    y0 = np.array(PROBLEMS["E2"].y0, float)
    ours, theirs = both(PROBLEMS["E2"].field, y0, [0, 0.3, 2.2], method=method, rtol=1e-3, atol=1e-4, options=options)
    assert counts(ours) == counts(theirs)
    assert distance(ours, theirs) < (1e-9 if method == "dopri8" else 1e-12)


def test_every_setting_of_control_is_compared_with_torchdiffeq():
    assert {name for options in OPTIONS.values() for name in options} == {
        *("first_step", "min_step", "max_step", "safety", "ifactor", "dfactor", "max_num_steps")
    }


@pytest.mark.parametrize("t", [[0.1, 0.75], [0.1, -0.9], [-0.5, 0.5]], ids=["forward", "backward", "through zero"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", TABLEAUS)
def test_the_field_is_called_at_exactly_the_times_of_torchdiffeq(method, dtype, t):
    """This holds for stages at the end of an adaptive step too, which are evaluated one float before it."""
    seen = {torch: [], np: []}

    def field(xp, t, y):
        seen[xp].append(float(t))
        return 0 * y

    options = {"step_size": 0.25} if method in FIXED else {"first_step": 0.25, "min_step": 0.25, "max_step": 0.25}
    both(field, np.ones(3, dtype), t, method=method, options=options)
    assert seen[np] == seen[torch]
    if method in ADAPTIVE and 1 in TABLEAUS[method].c:
        end = np.dtype(dtype).type(t[0] + np.copysign(0.25, t[1] - t[0]))
        assert float(np.nextafter(end, np.dtype(dtype).type(t[0]))) in seen[np]
        assert float(end) not in seen[np]


# Evaluations and the largest error at the end of van der Pol's equation, measured with torchdiffeq 0.2.5.
MEASURED = [
    ("dopri5", 1e-3, 404, 2.245e-1),
    ("dopri5", 1e-6, 1118, 2.832e-5),
    ("dopri5", 1e-9, 3392, 1.581e-8),
    ("dopri8", 1e-3, 509, 4.858e-4),
    ("dopri8", 1e-6, 1029, 3.083e-6),
    ("dopri8", 1e-9, 2290, 9.132e-8),
    ("bosh3", 1e-3, 392, 8.379e-3),
    ("bosh3", 1e-6, 3017, 2.293e-6),
    ("adaptive_heun", 1e-3, 628, 1.140e-3),
    ("adaptive_heun", 1e-6, 16740, 1.240e-6),
    ("fehlberg2", 1e-3, 112, 2.373),
    ("fehlberg2", 1e-6, 2338, 1.132e-3),
]


@pytest.mark.parametrize(("method", "tolerance", "evaluations", "error"), MEASURED)
def test_work_and_error_are_those_measured_with_torchdiffeq(method, tolerance, evaluations, error):
    problem, calls = PROBLEMS["E2"], []

    def field(t, y):
        calls.append(t)
        return problem.field(np, t, y)

    solution = odelet.odeint(field, np.array(problem.y0, float), [0, 20], method=method, rtol=tolerance, atol=tolerance)
    end = np.array([problem.y20[0], problem.y20[1]])
    assert solution.stats.evaluations == len(calls) == evaluations
    # Rounding moves the last steps of dopri8; see FIRST_STEP.
    assert np.abs(solution.outputs["y"][-1] - end).max() == pytest.approx(error, rel=5e-4)
