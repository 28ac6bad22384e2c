"""`mark` in plain torch: its answers, warnings and refusals, and its treatment of the overrides of an export."""

import doctest
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchdiffeq
from support.emitted import FUNCTIONS, functions_of
from support.models_marked import BATCH, drawn, traced
from support.paths import ROOT
from torch import nn

import odelet
from odelet.numerics.backend import NUMPY, StateBackend
from odelet_export import CaptureError, FormError, export, mark
from odelet_export.capture.capture import capture
from odelet_export.commands.screen import show
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.spec import check_overrides
from odelet_intercept.torch_backend import TORCH

PAGE = ROOT / "docs" / "mark.md"


def test_torch_finds_the_exact_answer_and_its_gradient():
    b = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([[0.5, 0.2], [-0.3, 0.4]], dtype=torch.float64)
    inverse = torch.linalg.inv(torch.eye(2) - a)
    for method in ("fixed_point", "anderson"):
        z = mark(lambda z: z @ a.T + b, torch.zeros(1, 2, dtype=torch.float64), method=method, rtol=0.0, atol=1e-12)
        assert torch.allclose(z, b @ inverse.T, rtol=0, atol=1e-11)
    (gradient,) = torch.autograd.grad(mark(lambda z: z @ a.T + b, torch.zeros_like(b), rtol=0.0, atol=1e-12).sum(), b)
    assert torch.allclose(gradient, inverse.sum(dim=0, keepdim=True), rtol=0, atol=1e-9)


def test_importing_mark_does_not_import_torch():
    code = "from odelet_export import mark; import sys; sys.exit('torch' in sys.modules or not callable(mark))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_iteration_that_fails_in_torch_warns():
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
            r"f must return tensors of the shapes of its argument, \[\(1, 3\)\]; it returned \[\(2, 3\)\]",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:30],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    z0 = arguments.get("z0", torch.zeros(2, 3))
    others = {name: value for name, value in arguments.items() if name != "z0"}

    def model(x):
        return mark(lambda z: 0.5 * z + x, z0, **others)

    with pytest.raises(odelet.InputError, match=message):
        model(torch.ones(2, 3))
    with pytest.raises(CaptureError, match=rf'File ".*test_mark.py", line \d+: .*{message}'):
        capture(Callee(model, (torch.ones(2, 3),), {}), {}, Overrides(), opset=20)


@pytest.mark.parametrize("name", sorted(functions_of(StateBackend)))
def test_functions_of_the_torch_backend_give_the_results_of_numpy(name):
    row, number = np.array([[1.0, -2.0, 3.0, 0.5]]), np.float64(0.7)
    for build in FUNCTIONS[name]:
        try:
            ours = build(TORCH, torch.from_numpy(row), torch.tensor(number))
        except AttributeError:  # this expression also calls a function that fixed points do not need
            continue
        theirs = build(NUMPY, row, number)
        pairs = zip(ours, theirs, strict=True) if isinstance(theirs, list) else [(ours, theirs)]
        for a, b in pairs:
            assert a.numpy() == pytest.approx(np.asarray(b), rel=1e-15, nan_ok=True)


class Both(nn.Module):
    """A solve of an ODE, and then a marked fixed point."""

    def forward(self, x):
        y = torchdiffeq.odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0], dtype=x.dtype), method="dopri5")[-1]
        return mark(lambda z: 0.5 * torch.cos(z) + y, y, rtol=1e-9)


@pytest.mark.slow
def test_overrides_for_odes_leave_marked_solves_as_they_are(tmp_path, capsys):
    x = drawn((3, 4))
    exported = export(Both(), (x,), tmp_path / "a", dynamic=BATCH, method="rk4", steps=8, rtol=None, samples=2)
    assert [(solve.form, solve.method, solve.rtol) for solve in exported.card.solves] == [
        ("unrolled", "rk4", None),
        ("adaptive", "fixed_point", 1e-9),
    ]
    show(exported, tmp_path / "a")
    printed = capsys.readouterr().out
    assert re.search(r"solve 0: 8 steps, 32 field evaluations, the same as torchdiffeq\n", printed)
    assert re.search(r"solve 1: \d+( to \d+)? steps, the same as torch\n", printed)
    exported = export(Both(), (x,), tmp_path / "b", dynamic=BATCH, rtol=1e-3, max_steps=7, form="driven", samples=1)
    assert [(solve.rtol, solve.max_steps) for solve in exported.card.solves] == [(1e-3, 7), (1e-9, 100)]
    with pytest.raises(FormError, match="per_sample: the call of mark at test_mark.py:.* give it per_sample=True too"):
        export(Both(), (x,), tmp_path / "c", dynamic=BATCH, per_sample=True)


@pytest.mark.parametrize("override", [{"rtol": 1e-3}, {"method": "rk4"}, {"steps": 3}, {"per_sample": True}], ids=str)
def test_overrides_for_odes_are_refused_where_all_solves_are_marked(override):
    captured, _ = traced("anderson", torch.float64)
    (name,) = override
    with pytest.raises(
        FormError, match=rf"{name} is for solves of ODEs, but solve 0 \(models_marked.py:\d+\) is a call"
    ):
        check_overrides(captured.specs, Overrides(**override))


def test_functions_with_a_memory_and_nested_marks_are_refused():
    calls = []

    def stateful(z):
        calls.append(z)
        return 0.5 * z + 0.1 * calls[-2 if len(calls) > 1 else -1]

    def nested(z):
        return 0.5 * z + mark(lambda w: 0.5 * w + z, z)

    for f, message in ((stateful, "keeps something from one call"), (nested, "solve one before the other")):
        with pytest.raises(CaptureError, match=message):
            capture(Callee(lambda x, f=f: mark(f, x), (torch.ones(2, 3),), {}), {}, Overrides(), opset=20)


def test_the_example_of_the_docstring_runs():
    result = doctest.testmod(sys.modules[mark.__module__])
    assert (result.failed, result.attempted > 0) == (0, True)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    assert re.fullmatch(r"Status.OK \((\d+, ){4}\d+\)\n", capsys.readouterr().out)
