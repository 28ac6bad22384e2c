"""Adams methods: their coefficients are derived exactly, and their solves equal torchdiffeq's in every form."""

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np
import pytest
import torch
from support.lowering import Case, forms_of, inputs
from support.problems import torch_solve
from torchdiffeq._impl import fixed_adams

import odelet
from odelet.methods.adams import LARGEST_ORDER, bashforth, moulton

ADAMS = ["explicit_adams", "implicit_adams", "fixed_adams"]
UNEVEN = (0.0, 0.1, 0.25, 0.3, 0.45, 0.5, 0.62, 0.7, 0.71, 0.9, 1.0, 1.1, 1.3, 1.35, 1.5)


def integrals(nodes):
    """For each node, the exact integral from 0 to 1 of the polynomial that is 1 there and 0 at the other nodes."""
    weights = []
    for i, node in enumerate(nodes):
        others = [Fraction(x) for j, x in enumerate(nodes) if j != i]
        coefficients = [Fraction(1)]
        for x in others:
            shifted = [Fraction(0), *coefficients]
            coefficients = [high - x * low for high, low in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
        total = sum(c / (power + 1) for power, c in enumerate(coefficients))
        weights.append(total / prod((node - x for x in others), start=Fraction(1)))
    return tuple(weights)


@pytest.mark.parametrize("slopes", range(1, LARGEST_ORDER))
def test_coefficients_are_integrals_of_the_interpolating_polynomial(slopes):
    assert bashforth(slopes) == integrals(range(0, -slopes, -1))
    assert moulton(slopes) == integrals(range(1, -slopes, -1))


def test_coefficients_are_those_of_the_book():
    assert bashforth(3) == (Fraction(23, 12), Fraction(-16, 12), Fraction(5, 12))
    assert moulton(2) == (Fraction(5, 12), Fraction(8, 12), Fraction(-1, 12))


@pytest.mark.parametrize("slopes", range(3, LARGEST_ORDER))
def test_coefficients_are_those_of_torchdiffeq(slopes):
    assert fixed_adams._BASHFORTH_DIVISOR[slopes].tolist() == pytest.approx([float(w) for w in bashforth(slopes)])
    assert fixed_adams._MOULTON_DIVISOR[slopes + 1].tolist() == pytest.approx([float(w) for w in moulton(slopes)])


def field(xp, t, y):
    return xp.stack([xp.cos(3 * t) - y[0] * y[1], xp.tanh(y[0]) - 0.5 * y[1]])


SETTINGS = {
    "defaults": {},
    "few slopes": {"max_order": 5},
    "no slopes": {"max_order": 3},
    "one turn": {"max_iters": 1},
    "many turns": {"max_iters": 50},
    "perturbed": {"perturb": True},
    # Over many steps, rounding grows without bound with explicit formulas of high order, which are unstable.
    "short steps": {"step_size": 0.04, "max_order": 6},
    "cubic": {"step_size": 0.04, "max_order": 6, "interp": "cubic"},
}


@pytest.mark.filterwarnings("ignore:max_order is below", "ignore:Functional iteration", "ignore:.*did not converge")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("t", [UNEVEN, UNEVEN[::-1]], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", ADAMS)
def test_solves_equal_those_of_torchdiffeq(method, dtype, t, settings):
    if method == "explicit_adams":
        settings = {name: value for name, value in settings.items() if name != "max_iters"}
    y0, times = np.array([0.4, -0.3], dtype), np.array(t, dtype)
    tolerances = {"rtol": 1e-5, "atol": 1e-6}
    theirs = torch_solve(lambda t, y: field(torch, t, y), y0, times, method=method, options=settings, **tolerances)
    ours = odelet.odeint(lambda t, y: field(np, t, y), y0, times, method=method, options=settings, **tolerances)
    (stats,) = ours.stats.solves
    if dtype == "float64":
        assert (stats.steps, stats.evaluations) == (theirs.steps, theirs.evaluations)
    # The largest coefficients are some thousands, and multiply rounding errors.
    allowed = 3e3 * float(np.finfo(dtype).eps) if method == "explicit_adams" else 20 * float(np.finfo(dtype).eps)
    scale = np.abs(theirs.outputs[0]).max()
    assert np.abs(ours.outputs["y"] - theirs.outputs[0]).max() <= allowed * scale


def stiff(xp, t, y):
    return -40.0 * (y - xp.cos(t))


@pytest.mark.filterwarnings("ignore:Functional iteration")
def test_steps_that_do_not_converge_warn_and_drop_the_oldest_slope():
    y0, t = np.array([0.0]), np.linspace(0, 0.8, 13)
    theirs = torch_solve(lambda t, y: stiff(torch, t, y), y0, t, method="implicit_adams")
    with pytest.warns(RuntimeWarning, match=r"implicit_adams\): the iteration did not converge in 10 of 12 steps"):
        ours = odelet.odeint(lambda t, y: stiff(np, t, y), y0, t, method="implicit_adams")
    assert ours.stats.solves[0].unconverged == 10
    assert ours.outputs["y"] == pytest.approx(theirs.outputs[0], rel=1e-12)


@pytest.mark.filterwarnings("ignore:Functional iteration", "ignore:.*the iteration did not converge")
@pytest.mark.parametrize(
    ("method", "dtype", "options"),
    [
        ("explicit_adams", "float64", (("max_order", 5), ("interp", "cubic"), ("step_size", 0.09))),
        ("explicit_adams", "float32", (("perturb", True),)),
        ("implicit_adams", "float64", (("max_order", 6),)),
        ("fixed_adams", "float32", (("max_iters", 2), ("step_size", 0.07))),
    ],
)
def test_every_form_gives_the_answers_of_torchdiffeq(method, dtype, options, tmp_path):
    times = UNEVEN[:8]
    # In float32, with a tolerance below rounding, chance would decide which steps converge.
    rtol = {"float64": 1e-9, "float32": 1e-4}[dtype]
    for pair, at in ((True, times), (False, None)):
        case = Case(method=method, dtype=dtype, times=at, pair=pair, options=options, rtol=rtol, atol=rtol)
        given = None if at else (1.0, 0.7, 0.65, 0.5, 0.2, 0.0)
        forms = forms_of(case)
        assert {"rolled", "loop_free", "driven"} <= set(forms) <= {"unrolled", "rolled", "loop_free", "driven"}
        for form in forms:
            model = replace(case, form=form).load(tmp_path / f"{form}-{pair}")
            for batch in (1, 4):
                x = inputs(dtype, batch, seed=batch)
                theirs = case.torch(x, given)
                solution = model.solve(x) if at else model.solve(x, np.array(given, dtype))
                (stats,) = solution.stats.solves
                if dtype == "float64":
                    assert (stats.steps, stats.evaluations) == (theirs.steps, theirs.evaluations)
                for output, wanted in zip(solution.outputs.values(), theirs.outputs, strict=True):
                    scale = np.abs(wanted).max()
                    assert np.abs(output - wanted).max() <= {"float64": 1e-13, "float32": 1e-5}[dtype] * scale


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_order": 1}, "max_order=1 must be a whole number from 2 to 12"),
        ({"max_order": 13}, "max_order=13 must be a whole number from 2 to 12"),
        ({"max_iters": 0}, "max_iters=0 must be a whole number from 1"),
        ({"max_steps": 3}, "options max_steps are not known for method 'implicit_adams'; known are"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(odelet.InputError, match=message):
        odelet.odeint(lambda t, y: -y, np.ones(1), [0.0, 1.0], method="implicit_adams", options=options)
