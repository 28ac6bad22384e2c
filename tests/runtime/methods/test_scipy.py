"""SciPy's solve_ivp as a method gives torchdiffeq's answers, and reports failures as statuses; SciPy is optional."""

import sys

import numpy as np
import pytest
import torch
import torchdiffeq
from support.lowering import Case, forms_of, inputs
from torch import nn

import odelet
from odelet.methods.scipy import SOLVERS
from odelet.status import Status
from odelet_export import FormError, export

TOLERANCES = {"rtol": 1e-6, "atol": 1e-8}


def field(t, y):
    return torch.stack([torch.cos(3 * t) - y[0] * y[1], torch.tanh(y[0]) - 0.5 * y[1]])


@pytest.mark.filterwarnings(
    "ignore:The following arguments have no effect"
)  # torchdiffeq passes min_step to all solvers
@pytest.mark.parametrize("t", [(0.0, 0.4, 1.0, 2.0), (1.0, 0.2, -0.3)], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_solves_equal_those_of_torchdiffeq(solver, dtype, t):
    y0, times = np.array([0.4, -0.3], dtype), np.array(t, dtype)
    given = {"method": "scipy_solver", "options": {"solver": solver, "max_step": 0.3}, **TOLERANCES}
    calls = []

    def counted(t, y):
        calls.append(t)
        return field(t, y)

    with torch.no_grad():
        theirs = torchdiffeq.odeint(counted, torch.from_numpy(y0), torch.from_numpy(times), **given).numpy()
    # Both evaluate the same torch operators, so that only their calls of SciPy could differ.
    ours = odelet.odeint(lambda t, y: field(torch.tensor(t), torch.from_numpy(y)).numpy(), y0, times, **given)
    assert np.array_equal(ours.outputs["y"], theirs)
    assert ours.stats.evaluations == len(calls)
    assert (ours.stats.solves[0].steps, ours.stats.solves[0].time) == (None, times[-1])


@pytest.mark.filterwarnings(
    "ignore:The following arguments have", "ignore:Solver 'scipy_solver' does not support callbacks"
)
@pytest.mark.parametrize(("dtype", "pair", "times"), [("float64", True, (0.0, 0.3, 1.0)), ("float32", False, None)])
def test_a_driven_model_gives_the_answers_of_torchdiffeq(dtype, pair, times, tmp_path):
    case = Case(
        method="scipy_solver", form="driven", dtype=dtype, pair=pair, times=times, options=(("solver", "DOP853"),)
    )
    assert forms_of(case) == ["driven"]
    model = case.load(tmp_path)
    assert not list(tmp_path.glob("*step*"))
    for given in [None] if times else [(1.0, 0.5, 0.1), (0.0, 2.0)]:
        x = inputs(dtype, 3, seed=4)
        theirs = case.torch(x, given)
        solution = model.solve(x) if times else model.solve(x, np.array(given, dtype))
        # In float32, rounding changes the steps of SciPy's step control.
        assert dtype == "float32" or solution.stats.evaluations == theirs.evaluations
        for output, wanted in zip(solution.outputs.values(), theirs.outputs, strict=True):
            assert output == pytest.approx(wanted, rel=0, abs={"float64": 1e-12, "float32": 1e-5}[dtype])
    if times is None:
        assert model(x, np.array([0.5], dtype)) == pytest.approx(x[None])


def test_tolerances_can_be_set_in_a_call(tmp_path):
    model = Case(method="scipy_solver", form="driven", times=(0.0, 1.0)).load(tmp_path)
    loose, tight = (model.solve(inputs("float64"), rtol=rtol, atol=rtol).stats.evaluations for rtol in (1e-2, 1e-10))
    assert tight > 2 * loose


def blow_up(t, y):
    return y * y


@pytest.mark.filterwarnings("ignore:lsoda")
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solve_that_fails_has_a_status(solver):
    run = odelet.odeint(
        blow_up, np.array([1.0]), [0.0, 0.5, 2.0], method="scipy_solver", options={"solver": solver}, **TOLERANCES
    )
    assert run.status in (Status.STEP_UNDERFLOW, Status.NOT_FINITE)
    assert run.stats.solves[0].time <= 0.5
    assert np.isnan(run.outputs["y"][-1]).all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("start", [np.nan, 1.0])
def test_states_that_are_not_finite_end_the_solve(solver, start):
    run = odelet.odeint(
        lambda t, y: y * np.nan, np.array([start]), [0.0, 1.0], method="scipy_solver", options={"solver": solver}
    )
    assert (run.status, run.stats.solves[0].time) == (Status.NOT_FINITE, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "RK"}, "solver='RK' must be one of 'RK45', 'RK23'"),
        ({"min_step": -1.0}, "min_step=-1.0 must be finite and not negative"),
        ({"max_step": 0.0}, "max_step=0.0 must be positive"),
        ({"step_size": 0.1}, "options step_size are not known for method 'scipy_solver'; known are max_step, min_step"),
    ],
)
def test_options_that_scipy_does_not_have_are_refused(options, message):
    with pytest.raises(odelet.InputError, match=message):
        odelet.odeint(blow_up, np.ones(1), [0.0, 0.5], method="scipy_solver", options=options)


def test_without_scipy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.integrate", None)
    with pytest.raises(odelet.InputError, match=r"pip install odelet\[scipy\]"):
        odelet.odeint(blow_up, np.ones(1), [0.0, 0.5], method="scipy_solver")


class Plain(nn.Module):
    def forward(self, x):
        t = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return torchdiffeq.odeint(lambda t, y: torch.sin(t) - y, x, t, method="scipy_solver", options={"eps": 1})[-1]


def test_a_model_that_calls_scipy_is_exported_as_driven(tmp_path):
    x = torch.ones(2, 3, dtype=torch.float64)
    done = export(Plain(), (x,), tmp_path / "a", samples=2)
    assert done.card.form == "driven"
    with pytest.raises(FormError, match="scipy_solver has its steps taken by SciPy, outside any graph"):
        export(Plain(), (x,), tmp_path / "b", form="adaptive")
