"""Numbers among the arguments that are declared as inputs: one artifact serves every number of steps."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.errors import AssumptionError, InputError
from odelet_export import CaptureError, explain, export


class Sampler(nn.Module):
    """A flow-matching sampler as deployers have it: a number of steps, a scale, and a schedule of times."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(2, 2)

    def forward(self, x, n_timesteps: int = 10, scale: float = 1.0):
        t = torch.linspace(0, 1, n_timesteps + 1)
        t = t - 0.5 * (torch.cos(torch.pi / 2 * t) - 1 + t)
        return odeint(lambda t, y: torch.tanh(self.net(y)) * t * scale + 1 / n_timesteps, x, t, method="midpoint")


def by_length(x, n: int):
    return odeint(
        lambda t, y: torch.cos(3 * t) - y, x, torch.tensor([0.0, 1.0]), method="euler", options={"step_size": 1 / n}
    )


def rows(x, n: int):
    return odeint(lambda t, y: torch.cos(3 * t) - y, x, torch.arange(n) / n, method="rk4")


X = torch.tensor([[1.0, -0.5], [0.3, 0.8], [0.2, 0.1]])
BATCH = {"x": {0: "batch"}}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["auto", "driven"])
def test_one_artifact_serves_every_number_of_steps(form, tmp_path):
    model = Sampler()
    dynamic = {**BATCH, "n_timesteps": "n", "scale": "scale"}
    result = export(model, (X, 10, 1.5), tmp_path / "out", dynamic=dynamic, form=form, samples=2)
    assert [str(tensor) for tensor in result.card.inputs] == ["float32 [batch, 2]", "int64 []", "float64 []"]
    assert result.card.assumptions == ()
    assert result.tracer == "torch.export"
    artifact = odelet.load(tmp_path / "out")
    for n, scale in ((1, 0.3), (4, 2.0), (10, 1.0), (32, -1.0)):
        with torch.no_grad():
            expected = model(X[:2], n, scale).numpy()
        solution = artifact.solve(X[:2].numpy(), n, scale=scale)
        np.testing.assert_allclose(solution.outputs["output"], expected, rtol=1e-5, atol=1e-6)
        assert solution.stats.solves[0].steps == n
    assert odelet.verify(tmp_path / "out").passed


@pytest.mark.slow
@pytest.mark.parametrize("model", [by_length, rows])
def test_a_number_of_steps_may_be_a_length_or_a_range(model, tmp_path):
    export(model, (X, 7), tmp_path / "out", dynamic={**BATCH, "n": "n"}, samples=2)
    artifact = odelet.load(tmp_path / "out")
    for n in (2, 5, 31):
        np.testing.assert_allclose(artifact(X.numpy(), n), model(X, n).numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.slow
def test_a_number_and_an_axis_of_one_label_are_equal(tmp_path):
    def model(x, weights, n: int):
        steps = torch.linspace(0, 1, n + 1)
        return odeint(lambda t, y: torch.cos(3 * t) - y, x, steps, method="euler")[1:] * weights[:, None, None]

    dynamic = {**BATCH, "weights": {0: "n"}, "n": "n"}
    result = export(model, (X, torch.rand(6), 6), tmp_path / "out", dynamic=dynamic, samples=2)
    assert [tensor.size for tensor in result.card.inputs] == ["", "", "n"]
    artifact, weights = odelet.load(tmp_path / "out"), torch.rand(4)
    with pytest.raises(InputError, match="input 'n' is 5; expected 4, the size of 'n' in input 'weights'"):
        artifact(X.numpy(), weights.numpy(), 5)
    with pytest.raises(InputError, match="input 'n' is -1; expected a number that is not negative"):
        artifact(X.numpy(), weights.numpy(), -1)
    np.testing.assert_allclose(artifact(X.numpy(), weights.numpy(), 4), model(X, weights, 4).numpy(), atol=2e-6)


def test_a_python_loop_over_a_number_of_steps_is_refused_with_its_line():
    def model(x, n: int):
        for _ in range(n):
            x = x + 0.1
        return odeint(lambda t, y: -y, x, torch.linspace(0, 1, n + 1), method="euler")

    with pytest.raises(CaptureError, match=r"(?s)test_number_inputs\.py.*range\(n\)"):
        explain(model, (X, 6), dynamic={**BATCH, "n": "n"})


@pytest.mark.slow
def test_a_decision_on_a_number_of_steps_is_checked_in_each_call(tmp_path):
    def model(x, n: int):
        times = torch.linspace(0, 1, n + 1) if n > 3 else torch.tensor([0.0, 1.0])
        return odeint(lambda t, y: torch.cos(t) - y, x, times, method="euler")[-1]

    export(model, (X, 6), tmp_path / "out", dynamic={**BATCH, "n": "n"}, samples=2)
    artifact = odelet.load(tmp_path / "out")
    np.testing.assert_allclose(artifact(X.numpy(), 4), model(X, 4).numpy(), atol=2e-6)
    with pytest.raises(AssumptionError, match="n"):
        artifact(X.numpy(), 2)


@pytest.mark.parametrize(
    ("args", "dynamic", "message"),
    [
        ((X,), {"n_timesteps": "n"}, "dynamic names the number 'n_timesteps', and the example call does not give it"),
        ((X, 10, "no"), {"scale": "s"}, "declares a number, and the example gives the str 'no'"),
        ((X, 0), {"n_timesteps": "n"}, "a whole number that is an input must be at least 1"),
        ((X, 10), {"x": "batch"}, "must map axes to names"),
    ],
)
def test_a_label_of_no_number_is_refused(args, dynamic, message):
    with pytest.raises(CaptureError, match=message):
        explain(Sampler(), args, dynamic=dynamic)
