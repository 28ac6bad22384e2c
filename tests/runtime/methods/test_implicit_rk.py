"""Implicit Runge-Kutta methods: identities, stability functions, the iteration for the stages, and all forms."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.polynomial import polynomial as P
from support.lowering import Case, forms_of, inputs

import odelet
from odelet.methods.implicit_rk import broyden
from odelet.methods.implicit_tableau import GL4, IMPLICIT_TABLEAUS, ImplicitTableau
from odelet.numerics.backend import NUMPY

CONSISTENT = [tableau for tableau in IMPLICIT_TABLEAUS.values() if not tableau.inconsistent]
every = pytest.mark.parametrize("tableau", CONSISTENT, ids=lambda tableau: tableau.name)

# By method: p, q, r of the simplifying assumptions B(p), C(q), D(r) that it fulfils; Hairer & Wanner II, sec. IV.5.
ASSUMPTIONS = {
    "implicit_euler": (1, 1, 0),
    "implicit_midpoint": (2, 1, 1),
    "trapezoid": (2, 2, 0),
    "radauIIA3": (3, 2, 1),
    "gl4": (4, 2, 2),
    "radauIIA5": (5, 3, 2),
    "gl6": (6, 3, 3),
    "sdirk2": (2, 1, 0),
    "trbdf2": (2, 2, 0),
}

# Numerators and denominators of the stability functions, by rising powers of z: Pade approximations of exp(z)
# for methods of Gauss or Radau type; for other methods as their authors give them.
G = 1 - np.sqrt(2) / 2
STABILITY = {
    "implicit_euler": ([1], [1, -1]),
    "implicit_midpoint": ([1, 1 / 2], [1, -1 / 2]),
    "trapezoid": ([1, 1 / 2], [1, -1 / 2]),
    "radauIIA3": ([1, 1 / 3], [1, -2 / 3, 1 / 6]),
    "gl4": ([1, 1 / 2, 1 / 12], [1, -1 / 2, 1 / 12]),
    "radauIIA5": ([1, 2 / 5, 1 / 20], [1, -3 / 5, 3 / 20, -1 / 60]),
    "gl6": ([1, 1 / 2, 1 / 10, 1 / 120], [1, -1 / 2, 1 / 10, -1 / 120]),
    "sdirk2": ([1, 1 - 2 * G], P.polymul([1, -G], [1, -G])),
    "trbdf2": ([1, 1 - 2 * G], P.polymul([1, -G], [1, -G])),
}


@every
def test_each_method_fulfils_its_simplifying_assumptions(tableau):
    a, b, c = (np.array(x, float) for x in (tableau.a, tableau.b, tableau.c))
    p, q, r = ASSUMPTIONS[tableau.name]

    def defect_b(k):
        return abs(b @ c ** (k - 1) - 1 / k)

    def defect_c(k):
        return np.abs(a @ c ** (k - 1) - c**k / k).max()

    def defect_d(k):
        return np.abs((b * c ** (k - 1)) @ a - b * (1 - c**k) / k).max()

    for defect, count in ((defect_b, p), (defect_c, q), (defect_d, r)):
        assert max((defect(k) for k in range(1, count + 1)), default=0) < 1e-14
        assert defect(count + 1) > 1e-4
    assert tableau.order == p


def test_the_twin_of_gl4_differs_in_one_node():
    twin = IMPLICIT_TABLEAUS["gl4_torchdiffeq"]
    assert (twin.a, twin.b, twin.c[0]) == (GL4.a, GL4.b, GL4.c[0])
    assert twin.c[1] == twin.c[0] != GL4.c[1]


@pytest.mark.parametrize("z", [-0.5, -5.0, -100.0, -4e3])
@every
def test_a_step_of_the_linear_equation_is_the_stability_function(tableau, z):
    top, bottom = STABILITY[tableau.name]
    expected = P.polyval(z, top) / P.polyval(z, bottom)
    run = odelet.odeint(lambda t, y: z * y, np.array([1.0]), [0.0, 1.0], method=tableau.name)
    assert run.stats.solves[0].unconverged == 0
    # Slopes are as large as z, with a residual of 1e-8 or of their rounding.
    assert run.outputs["y"][-1, 0] == pytest.approx(expected, rel=1e-6, abs=2e-8 + 1e-14 * abs(z))


def test_stages_are_solved_together_only_where_they_depend_on_each_other():
    blocks = {name: tableau.blocks for name, tableau in IMPLICIT_TABLEAUS.items()}
    assert blocks["gl6"] == ((0, 1, 2),)
    assert blocks["trapezoid"] == ((1,),)
    assert blocks["trbdf2"] == ((1,), (2,))
    assert blocks["sdirk2"] == ((0,), (1,))


def dense_broyden(residual, x, *, tolerance, limit):
    """Broyden's method with updates of the Jacobian itself, and a linear solve in each turn."""
    r, jacobian, turns = residual(x), np.eye(x.size), 0
    while np.linalg.norm(r) >= tolerance and turns < limit:
        s = -np.linalg.solve(jacobian, r)
        x, turns = x + s, turns + 1
        after = residual(x)
        jacobian += np.outer(after - r - jacobian @ s, s) / (s @ s)
        r = after
    return x, turns


@pytest.mark.parametrize("seed", range(5))
def test_updates_of_the_inverse_jacobian_equal_updates_of_the_jacobian(seed):
    rng = np.random.default_rng(seed)
    matrix, b = rng.normal(size=(6, 6)), rng.normal(size=6)

    def residual(x):
        return x + 0.3 * np.tanh(matrix @ x) - b

    root = broyden(lambda row: residual(row[0])[None], np.zeros((1, 6)), tolerance=1e-10, limit=100, xp=NUMPY)
    x, turns = dense_broyden(residual, np.zeros(6), tolerance=1e-10, limit=100)
    assert not root.unconverged
    assert root.turns == turns
    assert root.x[0] == pytest.approx(x, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_iteration_with_a_residual_that_is_not_finite_ends_at_once(wrong):
    with np.errstate(all="ignore"):
        root = broyden(lambda x: x * wrong, np.ones((1, 3)), tolerance=1e-8, limit=100, xp=NUMPY)
    assert root.unconverged
    assert root.turns <= 2


def test_a_singular_jacobian_ends_the_iteration():
    # The slope of the secant is 0 after one update of size 1.
    with np.errstate(all="ignore"):
        root = broyden(lambda x: x * 0 + 1.0, np.zeros((1, 1)), tolerance=1e-8, limit=100, xp=NUMPY)
    assert root.unconverged
    assert root.turns == 1


def test_steps_that_do_not_converge_warn():
    with pytest.warns(RuntimeWarning, match=r"gl6\): the iteration did not converge in 2 of 2 steps"):
        run = odelet.odeint(
            lambda t, y: np.cos(5 * y) * 20, np.ones(3), [0.0, 0.5, 1.0], method="gl6", options={"max_iters": 3}
        )
    assert run.stats.solves[0].unconverged == 2


CASES = [
    ("implicit_euler", "float32", ()),
    ("trapezoid", "float64", (("step_size", 0.15), ("interp", "cubic"))),
    ("radauIIA5", "float64", ()),
    ("gl4_torchdiffeq", "float64", (("perturb", True),)),
    ("trbdf2", "float32", (("step_size", 0.15),)),
]


@pytest.mark.parametrize(("method", "dtype", "options"), CASES)
def test_every_form_is_near_a_solve_with_another_solver_of_the_stages(method, dtype, options, tmp_path):
    for pair, times in ((True, (0.0, 0.2, 0.35, 0.4)), (False, None)):
        case = Case(method=method, dtype=dtype, times=times, pair=pair, options=options)
        given = None if times else (0.5, 0.3, 0.0)
        solutions = {}
        forms = forms_of(case)
        assert set(forms) == {"rolled", "loop_free", "driven"}
        for form in forms:
            model = replace(case, form=form).load(tmp_path / f"{form}-{pair}")
            x = inputs(dtype, 3, seed=5)
            solution = model.solve(x) if times else model.solve(x, np.array(given, dtype))
            (stats,) = solution.stats.solves
            assert stats.unconverged == 0
            theirs = case.torch(x, given)
            assert stats.steps == theirs.steps
            for output, wanted in zip(solution.outputs.values(), theirs.outputs, strict=True):
                allowed = {"float64": 2e-8, "float32": 2e-5}[dtype]
                assert np.abs(output - wanted).max() <= allowed * np.abs(wanted).max()
            solutions[form] = [*solution.outputs.values()], stats.evaluations
        (one, calls), *others = solutions.values()
        for other, same_calls in others:
            assert dtype == "float32" or calls == same_calls
            for a, b in zip(one, other, strict=True):
                assert a == pytest.approx(b, rel=0, abs=1e3 * float(np.finfo(dtype).eps))


def test_a_model_warns_of_steps_that_do_not_converge(tmp_path):
    case = Case(method="gl4", times=(0.0, 1.0, 2.0), options=(("max_iters", 2),))
    for form in ("rolled", "driven"):
        model = replace(case, form=form).load(tmp_path / form)
        with pytest.warns(RuntimeWarning, match=r"solve 0 \(gl4, .*did not converge in 2 of 2 steps"):
            model(inputs("float64"))
        with pytest.warns(RuntimeWarning, match="max_iters"):
            assert model.solve(inputs("float64")).stats.to_dict()["solves"][0]["unconverged"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": (1.0,)}, "a and b must have 2 entries a row"),
        ({"c": (0.5, 0.5)}, "its node is 0.5"),
        ({"b": (0.5, 0.25)}, "b sums to 0.75, not 1"),
    ],
)
def test_tableaus_that_do_not_fit_together_are_refused(changes, message):
    good = {"name": "mine", "order": 4, "c": GL4.c, "a": GL4.a, "b": GL4.b, "source": ""}
    with pytest.raises(ValueError, match=message):
        ImplicitTableau(**(good | changes))
