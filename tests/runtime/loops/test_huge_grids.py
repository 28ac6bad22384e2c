"""Output times that no grid of steps can reach are the caller's, and named with the number of steps."""

import numpy as np
import pytest
from support.paths import ROOT

import odelet
from odelet import InputError

ROLLED = ROOT / "tests" / "whole" / "artifacts-0.1" / "rolled"


@pytest.mark.parametrize("method", ["euler", "rk4", "implicit_adams"])
@pytest.mark.parametrize(
    ("step", "end", "steps"), [(1e-12, 1.0, r"1e\+12"), (1e-300, -2.0, r"2e\+300"), (1.0, 1e300, r"1e\+300")]
)
def test_a_grid_of_too_many_steps(method, step, end, steps):
    with pytest.raises(InputError, match=rf"^step_size={step:g} takes {steps} steps from t=0 to t="):
        odelet.odeint(lambda t, y: -y, np.ones(2), [0.0, end], method=method, options={"step_size": step})


def test_a_grid_of_many_steps_is_solved():
    solution = odelet.odeint(lambda t, y: -y, np.ones(1), [0.0, 1.0], method="euler", options={"step_size": 1e-4})
    assert solution.stats.solves[0].steps == 10_000


@pytest.mark.filterwarnings("ignore:solve 0:RuntimeWarning")  # the iteration for a state that is not finite
@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 1, np.inf], "input 't' holds output times that are not finite"),
        ([-np.inf, 0, 1], "input 't' holds output times that are not finite"),
        ([0, 1, 1e12], r"input 't' holds output times from 0 to 1e\+12, too far apart for steps of the length"),
    ],
)
def test_times_that_a_graph_of_0_1_cannot_reach(times, message):
    model = odelet.load(ROLLED)
    y0, t = np.ones(2), np.array(times, np.float64)
    for call in (model, model.solve):
        with pytest.raises(InputError, match=message):
            call(y0, t)
    good = np.array([0.0, 0.5])
    assert model.solve(y0, good).status is odelet.Status.OK
    assert model.solve(np.array([1.0, np.nan]), good).status is odelet.Status.NOT_FINITE
    assert model.solve(np.array([1.0, np.nan]), good[:1]).status is odelet.Status.NOT_FINITE
