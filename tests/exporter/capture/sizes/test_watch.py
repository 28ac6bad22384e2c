"""What a model's code assumes of the sizes of dynamic axes: conditions that each call checks, or the line is named."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.errors import AssumptionError
from odelet_export import CaptureError, export
from odelet_export.capture.capture import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides

BATCH = {"x": {0: "batch"}}


class Model(nn.Module):
    def __init__(self, field, *, gradient=False):
        super().__init__()
        self.net, self.call, self.gradient = nn.Linear(3, 3), field, gradient

    def field(self, t, y):
        if not self.gradient:
            return self.call(self, y)
        with torch.enable_grad():
            z = y.detach().requires_grad_(True)
            return self.call(self, y) + torch.autograd.grad(torch.tanh(z).sum(), z)[0]

    def forward(self, x):
        return odeint(self.field, x, torch.tensor([0.0, 1.0]), method="euler")[-1]


def halves(model, y):
    n = y.shape[0] // 2
    return torch.tanh(model.net(torch.cat([y[:n] + y[n:], y[:n] - y[n:]])))


def pairs(model, y):
    return model.net(y.view(-1, 2, 3)).reshape(-1, 3)


def decision(model, y):
    if y.shape[0] > 3:
        return model.net(y)
    return -y


def special_case(model, y):
    if len(y) == 1:
        return -y
    return model.net(y)


def loop(model, y):
    return torch.stack([model.net(y[i]) for i in range(y.shape[0])])


def rows(model, y):
    return torch.stack([model.net(row) for row in y])


def table(model, y):
    return model.net(y) * {3: 1.0, 4: 2.0}[y.shape[0]]


def captured(field, *, gradient=False, model=None, dynamic=BATCH):
    torch.manual_seed(0)
    callee = Callee(model or Model(field, gradient=gradient), (torch.randn(4, 3),), {})
    return capture(callee, dynamic, Overrides(), opset=20)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(
    ("field", "condition"),
    [(halves, "batch % 2 == 0"), (pairs, "batch % 2 == 0"), (decision, "batch >= 4"), (special_case, "batch != 1")],
)
def test_what_a_line_needs_of_a_size_is_an_assumption(field, condition, gradient):
    result = captured(field, gradient=gradient)
    assert result.tracer == ("make_fx" if gradient else "torch.export")
    (assumption,) = result.assumptions
    assert assumption.sizes == condition
    assert assumption.source.startswith("test_watch.py:")
    assert assumption.inputs == ("x",)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("field", "line"), [(loop, "range(y.shape[0])"), (rows, "for row in y"), (table, "{3: 1.0")])
def test_a_size_that_becomes_a_number_is_refused_with_its_line(field, line, gradient):
    with pytest.raises(CaptureError) as refused:
        captured(field, gradient=gradient)
    where, source, found, advice = str(refused.value).split("\n")[:4]
    assert "test_watch.py" in where
    assert line in source
    if field is not table:  # Python itself refuses such a key
        assert "the size of axis 'batch', which this line makes a number" in found
        assert "leave 'batch' out of `dynamic`" in advice


def test_axes_of_one_size_need_one_name():
    def both(x, z):
        return odeint(lambda t, y: -y * z, x, torch.tensor([0.0, 1.0]), method="euler")[-1]

    callee = Callee(both, (torch.randn(4, 3), torch.randn(4, 1)), {})
    with pytest.raises(CaptureError, match=r"(?s)-y \* z.*sizes that do not fit.*\(a\).*\(b\).*one name"):
        capture(callee, {"x": {0: "a"}, "z": {0: "b"}}, Overrides(), opset=20)


@pytest.mark.slow
def test_each_call_checks_the_sizes_before_it_runs_anything(tmp_path):
    torch.manual_seed(0)
    model = Model(halves)
    exported = export(model, (torch.randn(4, 3),), tmp_path / "out", dynamic=BATCH, samples=2)
    assert any("takes batch % 2 == 0" in warning for warning in exported.warnings)
    loaded = odelet.load(tmp_path / "out")
    for batch in (2, 6):
        x = torch.randn(batch, 3)
        np.testing.assert_allclose(loaded(x.numpy()), model(x).detach().numpy(), atol=1e-5)
    for batch in (1, 5):
        with pytest.raises(AssumptionError, match=r"inputs with batch % 2 == 0 alone, because of 'return torch"):
            loaded(np.zeros((batch, 3), np.float32))
    with pytest.raises(CaptureError, match=r"which strict refuses(?s:.*)takes batch % 2 == 0"):
        export(model, (torch.randn(4, 3),), tmp_path / "strict", dynamic=BATCH, strict=True)
