"""`mark`: in plain torch, and exported in every form, beside each other at other inputs and batch sizes."""

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torchdiffeq
from lowering import load_captured
from test_emit import FUNCTIONS
from torch import nn

import odelet
from odelet import Status, fixed_point
from odelet.backend import NUMPY
from odelet_export import CaptureError, FormError, export, mark
from odelet_export.capture import capture
from odelet_export.eager import TORCH
from odelet_export.reference import run_reference
from odelet_export.screen import show
from odelet_export.signature import Callee
from odelet_export.spec import Overrides, check_overrides

PAGE = Path(__file__).parents[1] / "docs" / "mark.md"
FORMS = ("unrolled", "rolled", "adaptive", "driven")
BATCH = {"x": {0: "batch"}}


class Layer(nn.Module):
    """z = tanh(W z + U x), to where it stops changing."""

    def __init__(self, **how) -> None:
        super().__init__()
        self.inner, self.inject, self.how = nn.Linear(6, 6), nn.Linear(4, 6), how

    def forward(self, x):
        injected = self.inject(x)
        return mark(lambda z: torch.tanh(1.2 * self.inner(z) + injected), torch.zeros_like(injected), **self.how)


class Pair(Layer):
    """Two tensors of a batch, one a number for each sample."""

    def forward(self, x):
        injected = self.inject(x)

        def f(state):
            z, level = state
            return torch.tanh(self.inner(z) + level[:, None] * injected), 0.3 * torch.cos(level + z[:, 0])

        return mark(f, (torch.zeros_like(injected), x[:, 0]), **self.how)


class Sequence(nn.Module):
    """Sequences of any length, in two steps: the second begins where the first ended, and reads it too."""

    def __init__(self, **how) -> None:
        super().__init__()
        self.mix, self.how = nn.Linear(4, 4), how

    def forward(self, x):
        first = mark(lambda z: torch.tanh(self.mix(z)) + 0.1 * z.mean(dim=1, keepdim=True) + x, x, **self.how)
        again = mark(lambda z: (0.3 * self.mix(z[0]) + first, 0.2 * z[1]), (first, first[:, :, 0]), **self.how)
        return again[0]


LENGTH = {"x": {0: "batch", 1: "length"}}
CASES = {
    "plain": (Layer, (3, 4), BATCH),
    "anderson": (lambda: Layer(method="anderson", options={"m": 4, "lam": 1e-6}), (3, 4), BATCH),
    "damped": (lambda: Layer(method="anderson", options={"tau": 0.7}, rtol=1e-8, atol=1e-9), (3, 4), BATCH),
    "samples": (lambda: Layer(per_sample=True, rtol=1e-7, atol=1e-8), (3, 4), BATCH),
    "pair": (lambda: Pair(method="anderson"), (3, 4), BATCH),
    "pair of samples": (lambda: Pair(method="anderson", per_sample=True, rtol=1e-8), (3, 4), BATCH),
    "few turns": (lambda: Pair(method="anderson", options={"m": 3}, per_sample=True, max_iters=20), (3, 4), BATCH),
    "norm": (lambda: Layer(norm=lambda d: d.abs().max(), rtol=0.0, atol=1e-6), (3, 4), BATCH),
    "sequence": (lambda: Sequence(method="anderson", per_sample=True), (3, 5, 4), LENGTH),
}


def drawn(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@cache
def traced(name, dtype):
    build, shape, dynamic = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().to(dtype).eval()
    callee = Callee(model, (drawn(shape, dtype=dtype),), {})
    return capture(callee, dynamic, Overrides(), opset=20), callee


def check(name, form, folder, dtype=torch.float64):
    """Assert that a form gives what torch gives, after as many turns."""
    captured, callee = traced(name, dtype)
    model = load_captured(captured, form, folder / form)
    for batch in (5, 1):
        shape = (batch, *CASES[name][1][1:])
        if name == "sequence":
            shape = (batch, 2 * batch, 4)
        x = drawn(shape, seed=batch, dtype=dtype)
        expected, counts = run_reference(callee, [x], Overrides())
        found = model.solve(x.numpy())
        allowed = 1e-10 if dtype == torch.float64 else 2e-5
        assert found.status is Status.OK
        for ours, theirs in zip(found.outputs.values(), expected, strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            assert abs(ours - theirs).max() < allowed
        for stats, count in zip(found.stats.solves, counts, strict=True):
            assert (stats.form, stats.time, stats.rejected) == (form, None, 0)
            if dtype == torch.float64:
                assert stats.steps == count.steps
            most = max(stats.samples.steps) if stats.samples else stats.steps
            assert stats.evaluations == (captured.specs[0].max_iters if form in ("unrolled", "rolled") else most)
    return model


@pytest.mark.parametrize("name", [name for name in CASES if name != "few turns"])
def test_all_forms_give_what_torch_gives(name, tmp_path):
    for form in FORMS[1:]:
        check(name, form, tmp_path)


def test_a_straight_line_gives_what_torch_gives(tmp_path):
    model = check("few turns", "unrolled", tmp_path)
    assert model.card.solves[0].settings == {}


@pytest.mark.parametrize("form", FORMS[1:])
def test_float32(form, tmp_path):
    check("anderson", form, tmp_path, torch.float32)


def test_a_change_of_the_elimination_changes_torch_and_every_form(monkeypatch, tmp_path):
    """Weights that pick the newest call make Anderson's method the plain one, wherever it runs."""
    captured, callee = traced("anderson", torch.float64)
    x = drawn((4, 4), seed=9)
    _, (before,) = run_reference(callee, [x], Overrides())

    def newest(system, m, *, xp):
        return xp.take(system, m, axis=1) * xp.constant([[float(i == 0)] for i in range(m)], system)

    monkeypatch.setattr(fixed_point, "eliminated", newest)
    _, (after,) = run_reference(callee, [x], Overrides())
    assert after.steps > before.steps
    for form in FORMS[1:]:
        assert load_captured(captured, form, tmp_path / form).solve(x.numpy()).stats.steps == after.steps


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if hasattr(TORCH, name)])
def test_functions_of_the_torch_backend_give_what_numpy_gives(name):
    row, number = np.array([[1.0, -2.0, 3.0, 0.5]]), np.float64(0.7)
    for build in FUNCTIONS[name]:
        try:
            ours = build(TORCH, torch.from_numpy(row), torch.tensor(number))
        except AttributeError:  # it also asks for a function that fixed points do without
            continue
        theirs = build(NUMPY, row, number)
        pairs = zip(ours, theirs, strict=True) if isinstance(theirs, list) else [(ours, theirs)]
        for a, b in pairs:
            assert a.numpy() == pytest.approx(np.asarray(b), rel=1e-15)


# In plain torch.


def test_torch_finds_the_exact_answer_and_its_gradient():
    b = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([[0.5, 0.2], [-0.3, 0.4]], dtype=torch.float64)
    inverse = torch.linalg.inv(torch.eye(2) - a)
    for method in ("fixed_point", "anderson"):
        z = mark(lambda z: z @ a.T + b, torch.zeros(1, 2, dtype=torch.float64), method=method, rtol=0.0, atol=1e-12)
        assert torch.allclose(z, b @ inverse.T, rtol=0, atol=1e-11)
    (gradient,) = torch.autograd.grad(mark(lambda z: z @ a.T + b, torch.zeros_like(b), rtol=0.0, atol=1e-12).sum(), b)
    assert torch.allclose(gradient, inverse.sum(dim=0, keepdim=True), rtol=0, atol=1e-9)


def test_importing_mark_brings_no_torch():
    code = "from odelet_export import mark; import sys; sys.exit('torch' in sys.modules or not callable(mark))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_torch_warns_of_what_does_not_converge_or_is_not_finite():
    z0 = torch.tensor([[0.0], [1.0]])
    with pytest.warns(RuntimeWarning, match=r"did not converge for 1 of 2 samples in 20 calls of f; raise max_iters"):
        z = mark(lambda z: -z + 2, z0, per_sample=True, max_iters=20)
    assert z[1] == 1
    with pytest.warns(RuntimeWarning, match="became infinite or NaN in"):
        mark(lambda z: torch.exp(9 * z), z0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "newton"}, "method='newton' is not one of fixed_point, anderson"),
        ({"options": {"m": 3}}, "options m are not known for method 'fixed_point'; known are tau"),
        ({"options": {"tau": "half"}}, "tau='half' must be a number"),
        ({"options": {"m": 2.5}, "method": "anderson"}, "m=2.5 must be a whole number"),
        ({"rtol": -1e-3}, "rtol=-0.001 must be finite and not negative"),
        ({"rtol": 0, "atol": 0}, "rtol and atol are both 0"),
        ({"max_iters": 0}, "max_iters=0 must be a whole number, at least 1"),
        ({"norm": "max"}, "norm='max' must be a function"),
        ({"norm": torch.norm, "per_sample": True}, "leave one of norm and per_sample out"),
        ({"z0": [torch.ones(2)]}, "z0 must be a tensor or a tuple of tensors; got list"),
        ({"z0": torch.ones(2, dtype=torch.int64)}, "z0 is torch.int64; use float32 or float64"),
        ({"z0": torch.ones(()), "per_sample": True}, "per_sample needs a z0 whose first axis counts samples"),
        (
            {"z0": torch.ones(1, 3)},
            r"f must return what it is given, of the shapes \[\(1, 3\)\]; it returned \[\(2, 3\)\]",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:30],
)
def test_arguments_that_cannot_be_are_refused_by_name(arguments, message):
    z0 = arguments.get("z0", torch.zeros(2, 3))
    others = {name: value for name, value in arguments.items() if name != "z0"}

    def model(x):
        return mark(lambda z: 0.5 * z + x, z0, **others)

    with pytest.raises(odelet.InputError, match=message):
        model(torch.ones(2, 3))
    with pytest.raises(CaptureError, match=rf'File ".*test_mark.py", line \d+: .*{message}'):
        capture(Callee(model, (torch.ones(2, 3),), {}), {}, Overrides(), opset=20)


# What can go wrong in a model, and at run time.


@pytest.mark.parametrize("form", FORMS)
def test_what_does_not_converge_is_a_status(form, tmp_path):
    captured, callee = traced("samples", torch.float64)
    short = replace(captured, specs=[replace(spec, max_iters=12) for spec in captured.specs])
    model = load_captured(short, form, tmp_path)
    x = drawn((4, 4), seed=5)
    x[1:3] *= 1e-9
    found = model.solve(x.numpy())
    (stats,) = found.stats.solves
    assert found.status is stats.status is Status.NOT_CONVERGED
    assert set(stats.samples.status) <= {Status.OK, Status.NOT_CONVERGED}
    assert np.isfinite(found.outputs["output"]).all()
    with pytest.raises(
        odelet.SolveError, match=r"solve 0 \(fixed_point, test_mark.py:\d+\) stopped for .* not converge"
    ):
        model(x.numpy())
    x[0, 0] = np.nan
    assert model.solve(x.numpy()).stats.solves[0].samples.status[0] is Status.NOT_FINITE


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_tolerances_and_turns_can_be_set_at_run_time(form, tmp_path):
    captured, callee = traced("anderson", torch.float64)
    model = load_captured(captured, form, tmp_path)
    x = drawn((2, 4)).numpy()
    usual, loose, tight = model.solve(x), model.solve(x, rtol=1e-2), model.solve(x, rtol=1e-12, atol=1e-12)
    assert loose.stats.steps < usual.stats.steps < tight.stats.steps
    assert model.solve(x, max_steps=3).status is Status.NOT_CONVERGED
    assert model.solve(x, max_steps=3).stats.steps == 3


def test_the_driver_gives_up_in_time_and_refuses_what_needs_time(tmp_path):
    captured, _ = traced("anderson", torch.float64)
    model = load_captured(captured, "driven", tmp_path)
    x = drawn((2, 4)).numpy()
    for limits, status in (({"max_evals": 2}, Status.EVALUATION_LIMIT), ({"deadline": 1e-9}, Status.DEADLINE)):
        found = model.solve(x, **limits)
        assert (found.status, found.stats.steps) == (status, limits.get("max_evals", 0))
        assert found.outputs["output"].shape == (2, 6)
    with pytest.raises(odelet.InputError, match="is an iteration .anderson., without time"):
        model.solve(x, dense=True)
    with pytest.raises(odelet.InputError, match="is an iteration .anderson., which has no times"):
        model.stream(x=x)


class Both(nn.Module):
    """A solve of an ODE, and then a fixed point."""

    def forward(self, x):
        y = torchdiffeq.odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0], dtype=x.dtype), method="dopri5")[-1]
        return mark(lambda z: 0.5 * torch.cos(z) + y, y, rtol=1e-9)


def test_overrides_for_odes_leave_marked_solves_as_they_are(tmp_path, capsys):
    x = drawn((3, 4))
    made = export(Both(), (x,), tmp_path / "a", dynamic=BATCH, method="rk4", steps=8, rtol=None, samples=2)
    assert [(solve.form, solve.method, solve.rtol) for solve in made.card.solves] == [
        ("unrolled", "rk4", None),
        ("adaptive", "fixed_point", 1e-9),
    ]
    show(made, tmp_path / "a")
    told = capsys.readouterr().out
    assert re.search(r"solve 0: 8 steps, 32 field evaluations, the same as torchdiffeq\n", told)
    assert re.search(r"solve 1: \d+( to \d+)? steps, the same as torch\n", told)
    made = export(Both(), (x,), tmp_path / "b", dynamic=BATCH, rtol=1e-3, max_steps=7, form="driven", samples=1)
    assert [(solve.rtol, solve.max_steps) for solve in made.card.solves] == [(1e-3, 7), (1e-9, 100)]
    with pytest.raises(FormError, match="per_sample: the call of mark at test_mark.py:.* give it per_sample=True too"):
        export(Both(), (x,), tmp_path / "c", dynamic=BATCH, per_sample=True)


@pytest.mark.parametrize("override", [{"rtol": 1e-3}, {"method": "rk4"}, {"steps": 3}, {"per_sample": True}], ids=str)
def test_overrides_for_odes_are_refused_where_all_solves_are_marked(override):
    captured, _ = traced("anderson", torch.float64)
    (name,) = override
    with pytest.raises(FormError, match=rf"{name} is for solves of ODEs, but solve 0 \(test_mark.py:\d+\) is a call"):
        check_overrides(captured.specs, Overrides(**override))


def test_a_function_that_keeps_something_and_marks_inside_marks_are_refused():
    kept = []

    def stateful(z):
        kept.append(z)
        return 0.5 * z + 0.1 * kept[-2 if len(kept) > 1 else -1]

    def nested(z):
        return 0.5 * z + mark(lambda w: 0.5 * w + z, z)

    for f, message in ((stateful, "keeps something from one call"), (nested, "inside the field of another solve")):
        with pytest.raises(CaptureError, match=message):
            capture(Callee(lambda x, f=f: mark(f, x), (torch.ones(2, 3),), {}), {}, Overrides(), opset=20)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    assert re.fullmatch(r"Status.OK \((\d+, ){4}\d+\)\n", capsys.readouterr().out)
