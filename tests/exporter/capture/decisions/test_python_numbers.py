"""Python numbers of traced tensors: `float(t)`, `math.sin(t)`, `np.interp(t, ...)`, and counts read from values."""

import math
from math import exp as exponential

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.errors import AssumptionError
from odelet_export import export
from odelet_export.capture.decisions.python_functions import python_functions
from odelet_export.proof.sample_inputs import Drawing

KNOTS, LEVELS = np.array([0.0, 0.25, 0.5, 1.0]), [0.0, 1.0, -1.0, 0.5]
X = torch.tensor([[0.4, -0.3, 0.2], [0.1, 0.5, -0.6]])
GRID = {"method": "rk4", "options": {"step_size": 0.125}}


class Numbers(nn.Module):
    """A field that takes the time for a number in every way, and a model that takes an input for one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 3)

    def field(self, t, y):
        now = float(t)
        assert isinstance(now, float)
        column = torch.full((y.shape[0], 1), now)
        drive = math.sin(3 * t) + exponential(-now) + math.log(2 + now, 2) + np.cos(now) + math.pi
        drive += np.interp(now, KNOTS, LEVELS) + max(0.0, math.cos(9 * now)) + float(np.sqrt(now * 2))
        return torch.tanh(self.net(torch.cat([y, column], 1))) + drive * np.float64(0.1) - y * (1 if now < 0.3 else 2)

    def forward(self, x, end):
        scale = math.sqrt(end) / 3 + round(2.5) + float(end) * 2
        times = torch.tensor([0.0, end.item() / 2, end.item()])
        return odeint(self.field, x * scale, times, **GRID)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["auto", "driven"])
def test_functions_of_numbers_compute_with_tensors(form, tmp_path):
    model = Numbers()
    result = export(model, (X, torch.tensor(1.0)), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=2, form=form)
    assert result.card.assumptions == ()
    artifact = odelet.load(tmp_path / "out")
    for end in (0.3, 1.7):
        with torch.no_grad():
            expected = model(X[:1], torch.tensor(end)).numpy()
        np.testing.assert_allclose(artifact(X[:1].numpy(), end), expected, rtol=2e-5, atol=2e-6)


def counted(x, t, lens):
    """Sizes and counts that come from values: of times, of a rounded quotient, and of lengths."""
    gap = t[1].item() - t[0].item()
    y = odeint(lambda s, y: torch.cos(s) - y, x, torch.linspace(0, 1, int((t[-1] - t[0]) / 0.1)), **GRID)[-1]
    for k in range(math.ceil((t[-1].item() - t[0].item()) / gap)):
        y = y + torch.arange(3) * k * gap
    mask = torch.arange(lens.max())[None] < lens[:, None]
    return y[:, : int(lens.max())] * mask


@pytest.mark.slow
def test_a_count_read_from_values_is_the_examples_and_each_call_checks_it(tmp_path):
    t, lens = torch.tensor([0.0, 0.25, 0.55]), torch.tensor([2, 1])
    result = export(counted, (X, t, lens), tmp_path / "out", dynamic={"x": {0: "b"}, "lens": {0: "b"}}, samples=1)
    assert len(result.parity.samples) == 2
    values = [(assumed.value, assumed.inputs) for assumed in result.card.assumptions]
    assert values == [("5", ("t",)), ("3", ("t",)), ("2", ("lens",)), ("2", ("lens",))]
    artifact, other = odelet.load(tmp_path / "out"), torch.tensor([0.1, 0.36, 0.68])
    expected = counted(X[:1], other, torch.tensor([2]))
    np.testing.assert_allclose(artifact(X[:1].numpy(), other.numpy(), np.array([2])), expected, rtol=2e-5, atol=2e-6)
    with pytest.raises(AssumptionError, match=r"lens\.max"):
        artifact(X.numpy(), other.numpy(), np.array([3, 1]))
    with pytest.raises(AssumptionError, match=r"linspace"):
        artifact(X.numpy(), np.array([0.0, 0.4, 0.9], np.float32), lens.numpy())


def test_stand_ins_give_what_they_stand_for_and_go_again():
    space = {"torch": torch, "math": math, "exponential": exponential, "__name__": "model"}
    exec("def read(x):\n    return float(x)", space)
    before = dict(space)
    with python_functions([space, vars(torch), vars(np)], lambda _: False):
        assert {name for name in space if space[name] is not before.get(name)} == {"math", "exponential", "float"}
        assert torch.float is torch.float32
        assert space["read"]("2.5") == 2.5
        assert space["math"].floor(2.7) == math.floor(torch.tensor(2.7)) == space["math"].floor(torch.tensor(2.7)) == 2
        assert type(space["math"].floor(torch.tensor(2.7))) is int
        for name in ("sin", "log", "expm1", "degrees", "erf", "fabs"):
            theirs, ours = getattr(math, name), getattr(space["math"], name)
            assert ours(0.3) == theirs(0.3)
            assert ours(torch.tensor(0.3, dtype=torch.float64)) == pytest.approx(theirs(0.3), rel=1e-15)
        assert space["math"].log(torch.tensor(8.0), 2) == pytest.approx(3.0)
        assert space["math"].atan2(torch.tensor(1.0), -2.0) == pytest.approx(math.atan2(1.0, -2.0))
        assert isinstance(0.5, space["float"])
        assert not isinstance(1, space["float"])
        assert np.zeros(2, dtype=space["float"]).dtype == np.float64
    assert space == before


@pytest.mark.parametrize("place", [-1.0, 0.0, 0.1, 0.25, 0.4, 0.5, 0.99, 1.0, 3.0])
def test_numpy_interpolates_at_a_tensor_as_at_a_number(place):
    with python_functions([], lambda _: False):
        ours = np.interp(torch.tensor(place, dtype=torch.float64), KNOTS, LEVELS)
    assert ours == pytest.approx(np.interp(place, KNOTS, LEVELS), abs=1e-12)


def test_numpy_functions_of_tensors_are_those_of_torch():
    with python_functions([], lambda _: False):
        for ours, theirs in (
            (np.sin(X), torch.sin(X)),
            (np.maximum(X, 0.1), torch.clamp(X, min=0.1)),
            (np.float64(2) * X, 2 * X),
            (np.power(X, 2), X**2),
        ):
            assert isinstance(ours, torch.Tensor)
            torch.testing.assert_close(ours, theirs)
        np.testing.assert_allclose(np.cbrt(X), np.cbrt(X.numpy()))
        assert np.linalg.norm(X) == pytest.approx(float(X.norm()))
    assert isinstance(np.sin(X.numpy()), np.ndarray)


def test_samples_close_to_the_example_keep_what_the_code_decides_by():
    lens, x = torch.tensor([2, 5]), torch.randn(2, 3)
    drawing = Drawing(("x", "lens"), (x, lens), {"x": {0: "b"}, "lens": {0: "b"}}, decisive={"lens"})
    generator = torch.Generator().manual_seed(0)
    for size, kept in ((1, [2]), (2, [2, 5]), (5, [2, 5, 2, 5, 2])):
        drawn_x, drawn_lens = drawing.at({"b": size}, generator, gently=True)
        assert drawn_lens.tolist() == kept
        assert drawn_x.shape == (size, 3)
        assert not any(torch.equal(row, other) for row in drawn_x for other in x)
    assert any(drawing.at({"b": 2}, generator)[1].tolist() != [2, 5] for _ in range(20))
