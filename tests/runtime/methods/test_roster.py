"""The roster of methods: the declared order, evaluations and forms of each method are true."""

from functools import cache

import numpy as np
import pytest
import torch
from support.lowering import Case, forms_of
from support.rosters import ITERATED
from torchdiffeq._impl.odeint import SOLVERS

import odelet
from odelet.methods.roster import METHODS
from odelet_export.lowering.forms import FORMS
from odelet_intercept import installed

STEPPING = [name for name, method in METHODS.items() if method.fixed]


def wave(t):
    """The periodic solution of y' = cos(3t) - y."""
    return (np.cos(3 * t) + 3 * np.sin(3 * t)) / 10


def swing(t, y):
    """The field of a pendulum, which is not linear. `swung` computes its end by 2000 steps."""
    return np.array([y[1], -np.sin(y[0])])


@cache
def swung():
    options = {"step_size": 1e-3}
    return odelet.odeint(swing, np.array([1.0, 0.5]), [0.0, 2.0], method="rk4", options=options).outputs["y"][-1]


SYSTEMS = {
    "cosine": (lambda t, y: np.cos(3 * t) - y, [wave(0.0)], lambda t, y: y - wave(t)[:, None]),
    "pendulum": (swing, [1.0, 0.5], lambda t, y: y[-1] - swung()),
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", STEPPING)
def test_measured_order_is_the_declared_one(name, system):
    field, y0, error = SYSTEMS[system]
    method, options = METHODS[name], {}
    if "adams" in name:
        options = {"max_order": 4, "max_iters": 40} if method.implicit else {"max_order": 5}
    # Methods of high order are measured on long steps, as the residual of implicit stages is 1e-8.
    # The wrong nodes of gl4_torchdiffeq do not matter where the field does not depend on time.
    order = 4 if (name, system) == ("gl4_torchdiffeq", "pendulum") else method.order
    counts = (3, 4, 5) if order >= 5 else (14, 20, 28) if order == 4 else (40, 56, 80)
    if "adams" in name:
        counts = (80, 112, 160)
    errors = []
    for count in counts:
        t = np.linspace(0, 2, count + 1)
        run = odelet.odeint(field, np.array(y0), t, method=name, options=options, rtol=1e-13, atol=1e-13)
        assert not run.stats.solves[0].unconverged
        errors.append(np.abs(error(t, run.outputs["y"])).max())
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.45)


@pytest.mark.filterwarnings("ignore:.*the iteration did not converge")
@pytest.mark.parametrize("name", METHODS)
def test_evaluations_of_the_field_are_counted(name):
    calls = []

    def field(t, y):
        calls.append(t)
        return np.cos(3 * t) - y

    run = odelet.odeint(field, np.ones(2), [0.0, 0.1, 0.25, 0.3, 0.5, 0.6], method=name)
    (stats,) = run.stats.solves
    assert stats.evaluations == len(calls)
    method = METHODS[name]
    if method.fixed:
        assert stats.steps == 5
        assert method.evaluations is None or len(calls) == 5 * method.evaluations
        assert (stats.unconverged is None) == (name not in ITERATED)


@pytest.mark.parametrize("name", METHODS)
def test_a_solve_can_have_the_forms_that_its_method_allows(name):
    forms = forms_of(Case(method=name, times=(0.0, 0.5, 1.0), positions=(0.0, 1.0)))
    method = METHODS[name]
    assert set(forms) == {form for form, module in FORMS.items() if module.excludes(method) is None}
    assert "driven" in forms
    assert ("unrolled" in forms) == (method.fixed and name not in ITERATED)
    assert ("adaptive" in forms) == ("bounded" in forms) == method.adaptive


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_source_and_options_with_defaults(name):
    method = METHODS[name]
    assert method.name == name
    assert len(method.source) >= 10
    assert method.with_options(**{option: getattr(method, option) for option in method.option_names()}) == method


def test_every_method_of_torchdiffeq_is_in_the_roster():
    assert set(SOLVERS) <= set(METHODS)


def solver(method, **changes):
    """A solver class like those of torchdiffeq, with the tableau of a method of the roster."""
    tableau = METHODS[method].tableau
    c = tableau.c if len(tableau.a[0]) else tableau.c[1:]

    class Tableau:
        alpha = torch.tensor(c, dtype=torch.float64)
        c_sol = torch.tensor(tableau.b, dtype=torch.float64)

    return type("Solver", (), {"tableau": Tableau})


@pytest.mark.parametrize("name", ["tsit5", "gl4"])
def test_a_name_means_what_the_installed_torchdiffeq_computes(name, monkeypatch):
    twin = f"{name}_torchdiffeq"
    assert installed.name_of("dopri5") == "dopri5"
    monkeypatch.setitem(SOLVERS, name, solver(twin))
    assert installed.name_of(name) == twin
    assert installed.key_of(name) == f"odelet.{name}"
    monkeypatch.setitem(SOLVERS, name, solver(name))
    assert installed.name_of(name) == name
    assert installed.key_of(name) == name


def test_methods_that_torchdiffeq_lacks_are_lent_to_it_in_the_block_only():
    before = dict(SOLVERS)
    with installed.lacking():
        assert {installed.key_of(name) for name in METHODS} <= set(SOLVERS)
    assert before == SOLVERS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_stand_in_for_an_implicit_solver_solves_its_equations(dtype):
    matrix = torch.tensor([[-500.0, 3, 0], [1, -2, 0.5], [0, 4, -30]], dtype=dtype)
    b = torch.tensor([1.0, -2, 3], dtype=dtype)
    root = installed.newton(lambda x: torch.tanh(x) + x - matrix @ x - b, torch.zeros(3, dtype=dtype))
    residual = torch.tanh(root) + root - matrix @ root - b
    assert float(residual.norm()) < 2000 * torch.finfo(dtype).eps
