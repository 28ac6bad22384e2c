"""Numerics are written once: a tableau, a controller or a step that exists twice fails here."""

import ast
from pathlib import Path

import numpy as np
import pytest

import odelet
from odelet import arrays, attempt, control, drive
from odelet.tableau import TABLEAUS, Tableau

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for folder in ("runtime", "exporter", "trainer", "models") for path in (ROOT / folder).rglob("*.py")]


def numbers(path):
    """The number literals of a file, and the values of quotients of two."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            found.add(float(node.value))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            sides = [side.value for side in (node.left, node.right) if isinstance(side, ast.Constant)]
            if len(sides) == 2 and all(isinstance(side, (int, float)) for side in sides) and sides[1]:
                found.add(sides[0] / sides[1])
    return found


def telling(tableau):
    """The entries of a tableau that no other code has a reason to hold."""
    rows = [*tableau.a, tableau.b, tableau.b_err or (), tableau.mid or ()]
    entries = {abs(float(entry)) for row in rows for entry in row}
    return {entry for entry in entries if entry != round(entry, 2) and 3 * entry != round(3 * entry)}


@pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=lambda tableau: tableau.name)
def test_a_tableaus_numbers_stand_in_one_file(tableau):
    for path in FILES:
        if path.name != "tableau.py":
            assert not numbers(path) & telling(tableau), f"{path.relative_to(ROOT)} repeats {tableau.name}"


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def attributes(node):
    return {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}


def test_one_function_takes_the_stages_of_a_step():
    loops = [
        f"{path.name}:{function.name}"
        for path, function in functions()
        if any(isinstance(inner, ast.For) and {"a", "c"} <= attributes(inner.iter) for inner in ast.walk(function))
    ]
    # The other one only checks the data.
    assert sorted(loops) == ["rk.py:erk_step", "tableau.py:__post_init__"]


def test_one_function_estimates_the_error_and_one_chooses_the_step():
    by_weights = [f"{path.name}:{f.name}" for path, f in functions() if {"b_err", "mid"} <= attributes(f)]
    # The data's own checks, the step itself, and torchdiffeq's solver class made from our data as a reference.
    assert sorted(by_weights) == ["attempt.py:attempt", "reference.py:tsit5_known", "tableau.py:__post_init__"]
    by_factors = [f"{path.name}:{f.name}" for path, f in functions() if {"ifactor", "dfactor"} <= attributes(f)]
    assert by_factors == ["control.py:integral"]


def test_numpy_solves_by_the_shared_text(monkeypatch):
    def solve():
        return odelet.odeint(lambda t, y: -y, np.ones(2), [0.0, 0.5, 1.0], rtol=1e-3, atol=1e-3)

    before = solve()
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "erk_step", lambda *args, **kwargs: pytest.fail("seen"))
        with pytest.raises(pytest.fail.Exception):
            solve()
    with monkeypatch.context() as patch:
        patch.setitem(control.CONTROLLERS, "integral", lambda h, ratio, **_: h)
        assert solve().stats.steps > before.stats.steps
    with monkeypatch.context() as patch:
        patch.setattr(drive, "quartic", lambda x, h, y0, y1, mid, k0, k1: 0 * y0)
        assert (solve().outputs["y"][1:] == 0).all()
    with monkeypatch.context() as patch:
        patch.setattr(arrays, "erk_step", lambda *args, **kwargs: pytest.fail("seen"))
        with pytest.raises(pytest.fail.Exception):
            odelet.odeint(lambda t, y: -y, np.ones(2), [0.0, 1.0], method="rk4")


@pytest.mark.slow
def test_every_form_solves_by_the_shared_text(monkeypatch, tmp_path):
    """Change a tableau and the controller, and every form answers as numpy does with the change."""
    torch = pytest.importorskip("torch")
    from torchdiffeq import odeint

    from odelet_export import ParityError, export
    from odelet_export.forms import FORMS

    euler_weights = Tableau(name="rk4", order=1, c=(0, 1), a=((), (1,)), b=(1, 0), source="a test's")
    monkeypatch.setitem(TABLEAUS, "rk4", euler_weights)
    monkeypatch.setitem(control.CONTROLLERS, "integral", lambda h, ratio, **_: h * 1.25)
    y0 = np.array([[1.0, 2.0]])
    for form in FORMS:
        method = "rk4" if form in ("unrolled", "rolled") else "bosh3"

        def model(x, method=method):
            return odeint(lambda t, y: -y, x, torch.tensor([0.0, 0.5, 1.0]), method=method, rtol=1e-3, atol=1e-3)

        ours = odelet.odeint(lambda t, y: -y, y0, [0.0, 0.5, 1.0], method=method, rtol=1e-3, atol=1e-3)
        # Torch knows nothing of the change, so its comparison fails: the artifact is the one kept aside.
        with pytest.raises(ParityError) as failed:
            export(model, (torch.tensor(y0),), tmp_path / form, form=form)
        artifact = odelet.load(failed.value.folder).solve(y0)
        np.testing.assert_allclose(artifact.outputs["output"], ours.outputs["y"], rtol=1e-12)
        assert artifact.stats.steps == ours.stats.steps
