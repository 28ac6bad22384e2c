"""Every loop gives up at a limit of evaluations and at its deadline, whatever takes the steps."""

from dataclasses import replace
from time import perf_counter, sleep

import numpy as np
import pytest
from support.artifacts import F32, driven_card, driven_models, node, onnx_model, value, write

import odelet
from odelet import Status
from odelet.methods.roster import METHODS

T = np.linspace(0.0, 1.0, 6)
SOLVERS = [*sorted(name for name, method in METHODS.items() if method.fixed or method.adaptive), "scipy_solver"]
FINE = {"step_size": 0.01}


def decay(t, y):
    return -y


def slow(t, y):
    sleep(0.002)
    return -y


def options_of(method):
    return dict(FINE) if METHODS[method].fixed else {}


@pytest.mark.parametrize("method", SOLVERS)
def test_a_limit_of_evaluations(method):
    solution = odelet.odeint(decay, np.array([1.0]), T, method=method, options=options_of(method), max_evals=12)
    assert solution.status is Status.EVALUATION_LIMIT
    assert 0 < solution.stats.evaluations <= 12 + (METHODS[method].evaluations is None) * 20
    assert solution.outputs["y"].shape == (6, 1)
    free = odelet.odeint(decay, np.array([1.0]), T, method=method, options=options_of(method), max_evals=10**9)
    assert free.status is Status.OK


@pytest.mark.parametrize("method", ["dopri5", "euler", "rk4", "implicit_adams", "scipy_solver"])
def test_a_deadline(method):
    start = perf_counter()
    solution = odelet.odeint(
        slow, np.array([1.0]), 100 * T, method=method, rtol=1e-9, options=options_of(method), deadline=0.1
    )
    assert solution.status is Status.DEADLINE
    assert 0.1 <= perf_counter() - start < 0.6
    with pytest.raises(odelet.SolveError, match="the deadline passed"):
        solution.raise_if_failed()


def test_a_fixed_step_solve_has_the_states_that_it_reached():
    y0 = np.array([1.0, 2.0])
    free = odelet.odeint(decay, y0, T, method="euler", options=FINE)
    cut = odelet.odeint(decay, y0, T, method="euler", options=FINE, max_evals=50)
    (stats,) = cut.stats.solves
    assert (stats.steps, stats.accepted, stats.evaluations) == (50, 50, 50)
    assert stats.time == pytest.approx(0.5)
    assert np.array_equal(cut.outputs["y"][:3], free.outputs["y"][:3])
    np.testing.assert_allclose(cut.outputs["y"][3:], np.broadcast_to(y0 * 0.99**50, (3, 2)))
    at_once = odelet.odeint(decay, y0, T, method="euler", options=FINE, deadline=1e-9)
    assert np.array_equal(at_once.outputs["y"], np.broadcast_to(y0, (6, 2)))
    assert at_once.stats.solves[0].time == 0


def test_scipy_keeps_the_states_to_itself():
    solution = odelet.odeint(decay, np.array([1.0]), T, method="scipy_solver", max_evals=12)
    assert np.isnan(solution.outputs["y"][1:]).all()
    assert solution.stats.evaluations == 12


@pytest.fixture(scope="module")
def driven_euler(tmp_path_factory):
    """A driven solve in a million fixed steps, whose card takes no setting at all."""
    card = driven_card()
    drive = replace(card.solves[0].drive, options={"step_size": 1e-6})
    solve = replace(card.solves[0], method="euler", rtol=None, atol=None, settings={}, drive=drive)
    row = [1, "n"]
    step = onnx_model(
        [node("Identity", "y", "y1")],
        [value("t", F32, []), value("t1", F32, []), value("y", F32, row)],
        [value("y1", F32, row)],
    )
    models = {**driven_models(), "solve_0_step.onnx": step}
    return odelet.load(write(tmp_path_factory.mktemp("euler") / "out", replace(card, solves=(solve,)), models))


def test_a_driven_solve_of_fixed_steps_ends_at_the_deadline(driven_euler):
    x, start = np.full((2, 3), 1e-30, np.float32), perf_counter()
    solution = driven_euler.solve(x, deadline=0.1)
    (stats,) = solution.stats.solves
    assert solution.status is Status.DEADLINE
    assert 0.1 <= perf_counter() - start < 0.9
    assert 0 < stats.steps < 1_000_000
    assert stats.time == pytest.approx(stats.steps * 1e-6, rel=1e-3)
    assert "y" in solution.outputs
    with pytest.raises(odelet.InputError, match="max_evals=5 cannot be set"):
        driven_euler.solve(x, max_evals=5)
