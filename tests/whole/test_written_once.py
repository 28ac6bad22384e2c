"""Numerics are written once: the sources have no second copy, and a change of the one copy changes every form."""

import ast
import operator
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from support.lowering import Case, forms_of, inputs
from support.paths import ROOT
from support.problems import PROBLEMS

import odelet
from odelet.methods.roster import METHODS
from odelet.numerics import adaptive_step as attempt
from odelet.numerics import control, rk
from odelet.numerics import interpolation as dense
from odelet.numerics.grid import Grid
from odelet.numerics.tableau import TABLEAUS

PACKAGES = ("runtime", "exporter", "trainer", "models")
SOURCES = {path: ast.parse(path.read_text()) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def test_the_sources_are_found():
    names = {path.name for path in SOURCES}
    assert {"tableau.py", "rk.py", "control.py", "adaptive.py", "capture.py", "fitting.py", "odenet.py"} <= names


ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def folded(node):
    """The value of an expression of numbers alone; None for any other expression."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = folded(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = folded(node.left), folded(node.right)
        if left is None or right is None or (right == 0 and isinstance(node.op, ast.Div)):
            return None
        return ARITHMETIC[type(node.op)](left, right)
    return None


def files_with_numbers(packages=PACKAGES):
    """The absolute value of every number in the sources, with the names of the files that have it."""
    files = defaultdict(set)
    chosen = {path: tree for path, tree in SOURCES.items() if path.relative_to(ROOT).parts[0] in packages}
    for path, tree in chosen.items():
        for node in ast.walk(tree):
            value = folded(node)
            if value is not None:
                files[abs(value)].add(path.name)
    return files


def test_coefficients_are_written_in_one_file():
    """Only coefficients of more than three decimals are looked for; shorter numbers occur for other reasons."""
    files = files_with_numbers()
    numbers = {
        abs(x)
        for tableau in TABLEAUS.values()
        for row in (tableau.c, *tableau.a, tableau.b, tableau.b_err or (), tableau.mid or ())
        for x in row
        if round(x, 3) != x
    }
    assert len(numbers) > 150
    # Numbers such as thirds occur in both kinds of tableaus, and in the steps for SDEs.
    assert {name for x in numbers for name in files[x]} == {"tableau.py", "implicit_tableau.py", "sde_steps.py"}


def test_constants_of_step_size_control_are_written_in_one_file():
    files = files_with_numbers([name for name in PACKAGES if name != "models"])  # models have shares and quantiles
    others = {"tableau.py", "float64.py", "float64_layers.py"}  # coefficients of methods and of activations
    assert [files[x] - others for x in (0.9, 1e-15, 1e-300)] == [{"control.py"}] * 3


def readers(names, *, of=None):
    """The files that read attributes of these names; `of`: only attributes of expressions that end in this text."""
    return {
        path.name
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in names
        if isinstance(node.ctx, ast.Load) and (of is None or ast.unparse(node.value).lower().endswith(of))
    }


def test_only_the_steppers_read_the_rows_of_a_tableau():
    # installed.py hands a tableau that torchdiffeq lacks to torchdiffeq's own loop.
    assert readers({"a"}, of="tableau") == {"rk.py", "implicit_rk.py", "installed.py"}
    assert readers({"c"}, of="tableau") == {"rk.py", "implicit_rk.py", "installed.py"}
    assert readers({"b"}, of="tableau") == {"rk.py", "implicit_rk.py", "installed.py"}
    # grid_path.py takes the step of adaptive_step.py, and measures the errors of all steps at once.
    assert readers({"b_err", "mid"}, of="tableau") - {"tableau.py"} == {
        "adaptive_step.py",
        "grid_path.py",
        "installed.py",
    }


def test_one_file_reads_the_settings_of_step_size_control():
    assert readers({"safety", "ifactor", "dfactor"}) == {"control.py"}
    assert readers({"min_step", "max_step"}) == {"control.py", "scipy.py"}  # SciPy controls its own steps


def test_only_the_steppers_sum_stages():
    assert readers({"combine"}) == {"rk.py", "adaptive_step.py", "grid_path.py", "implicit_rk.py"}


ONCE = {
    "rk.py": ["erk_step", "stage_times", "towards_start", "towards_end"],
    "adams.py": ["bashforth", "moulton"],
    "implicit_rk.py": ["broyden"],
    "fixed_point.py": ["initial_state", "take_turn", "iterate", "solve_by_elimination"],
    "grid.py": ["is_valid_grid"],
    "control.py": ["initial_step", "error_ratio", "next_length", "stop_at", "clamp", "judge"],
    "interpolation.py": ["quartic", "quartic_weights", "linear", "hermite"],
    "adaptive_step.py": ["attempt", "attempt_times", "first_slope", "first_length", "slope_after_jump", "middle_state"],
    "events.py": ["bisect", "combine_events"],
}


@pytest.mark.parametrize("file", ONCE)
def test_functions_of_the_solver_are_defined_once(file):
    defined = defaultdict(list)
    for path, tree in SOURCES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                defined[node.name].append(path.name)
    for name in ONCE[file]:
        assert defined[name] == [file]


# The tests below change a function of the solver, and check that numpy and every form compute something else.

TIMES = (0.0, 0.1, 0.5, 1.0)
CASES = {
    "adaptive": Case(method="bosh3", times=TIMES),
    "fixed": Case(method="heun3", times=TIMES, options=(("step_size", 0.3),)),
}


def outcomes(kind, folder):
    """The values and the number of steps of a solve in numpy, and of a model in every form, by name."""
    case = CASES[kind]
    y0 = np.array(PROBLEMS["E1"].y0)
    alone = odelet.odeint(
        PROBLEMS["E1"].on(np), y0, TIMES, method=case.method, rtol=case.rtol, atol=case.atol, options=dict(case.options)
    )
    results = {"numpy": (alone.outputs["y"], alone.stats.steps)}
    for form in forms_of(case):
        solution = replace(case, form=form).load(folder / form).solve(inputs("float64"))
        assert solution.status is odelet.Status.OK
        results[form] = (solution.outputs["output"], solution.stats.steps)
    return results


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    return {kind: outcomes(kind, tmp_path_factory.mktemp(kind)) for kind in CASES}


def same(one, other):
    return np.array_equal(one[0], other[0]) and one[1] == other[1]


def patch_everywhere(monkeypatch, original, changed):
    """Replace a function in all modules that have it."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("odelet", "odelet_export"):
            for key, value in list(vars(module).items()):
                if value is original:
                    monkeypatch.setattr(module, key, changed)


def scaled(function, factor=1.03125, *, place=None):
    """A function like `function`, with its result, or the part of it at `place`, multiplied by `factor`."""

    def changed(*args, **kwargs):
        result = function(*args, **kwargs)
        if place is None:
            return result * factor
        parts = list(result)
        parts[place] = parts[place] * factor
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)

    return changed


# By name: a function, the part of its result to change, and the kinds of solves that use it.
FUNCTIONS = {
    "erk_step": (rk.erk_step, 0, {"adaptive", "fixed"}),
    "towards_start": (rk.towards_start, None, {"adaptive"}),
    "initial_step": (control.initial_step, None, {"adaptive"}),
    "error_ratio": (control.error_ratio, None, {"adaptive"}),
    "judge": (control.judge, 1, {"adaptive"}),
    "clamp": (control.clamp, None, {"adaptive"}),
    "attempt": (attempt.attempt, 0, {"adaptive"}),
    "first_slope": (attempt.first_slope, None, {"adaptive"}),
    "next_length": (control.next_length, None, {"adaptive"}),
    "quartic_weights": (dense.quartic_weights, 2, {"adaptive"}),
    "linear": (dense.linear, None, {"fixed"}),
}


def assert_all_changed(results, unchanged):
    assert results.keys() == unchanged.keys()
    assert {name for name in results if same(results[name], unchanged[name])} == set()
    # All forms agree on the changed values.
    first, *others = (values for name, (values, _) in results.items() if name != "numpy")
    assert all(np.abs(values - first).max() < 1e-11 for values in others)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_is_changed_changes_every_form_that_uses_it(name, unchanged, monkeypatch, tmp_path):
    original, place, kinds = FUNCTIONS[name]
    patch_everywhere(monkeypatch, original, scaled(original, place=place))
    for kind in CASES:
        results = outcomes(kind, tmp_path / kind)
        if kind in kinds:
            assert_all_changed(results, unchanged[kind])
        else:
            assert all(same(results[form], unchanged[kind][form]) for form in results)


@pytest.mark.parametrize("name", control.CONTROLLERS)
def test_a_controller_that_is_changed_changes_every_adaptive_form(name, unchanged, monkeypatch, tmp_path):
    case = CASES["adaptive"]
    monkeypatch.setitem(CASES, "adaptive", replace(case, options=(("controller", name),)))
    original = control.CONTROLLERS[name]
    powers = tuple(power * 0.75 for power in original.powers)
    monkeypatch.setitem(control.CONTROLLERS, name, replace(original, powers=powers))
    assert_all_changed(outcomes("adaptive", tmp_path), unchanged["adaptive"])


def test_a_grid_that_is_changed_changes_every_fixed_form(unchanged, monkeypatch, tmp_path):
    points = Grid.points
    halved = Grid(step_size=0.15)
    monkeypatch.setattr(Grid, "points", lambda self, t, **settings: points(halved, t, **settings))
    results = outcomes("fixed", tmp_path)
    assert_all_changed(results, unchanged["fixed"])
    assert {steps for _, steps in results.values()} == {7}


@pytest.mark.parametrize("kind", CASES)
def test_a_tableau_that_is_changed_changes_every_form(kind, unchanged, monkeypatch, tmp_path):
    tableau = TABLEAUS[CASES[kind].method]
    b = (tableau.b[0] + 1 / 64, *tableau.b[1:-1], tableau.b[-1] - 1 / 64)
    changed = replace(METHODS[tableau.name], tableau=replace(tableau, b=b))
    monkeypatch.setitem(METHODS, tableau.name, changed)
    assert_all_changed(outcomes(kind, tmp_path), unchanged[kind])
