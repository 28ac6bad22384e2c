"""With a user's norm, the forms adaptive and driven take the same steps as torchdiffeq."""

import numpy as np
import pytest
import torch
import torchdiffeq
from support.lowering import load_captured
from torch import nn

from odelet_export.capture.capture import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import run_reference
from odelet_intercept.errors import CaptureError


class Model(nn.Module):
    """A solve whose norm of errors reads a weight, and a value from outside the solve."""

    def __init__(self, *, pair: bool = False, **settings):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner, self.outer = nn.Linear(2, 8), nn.Linear(8, 2)
        self.weigh = nn.Parameter(torch.tensor([4.0, 0.25]))
        self.pair, self.settings = pair, {"method": "dopri5", "rtol": 1e-4, "atol": 1e-5, **settings}
        self.double()

    def forward(self, x, t):
        scale = 1 + x.abs().mean()

        def slope(t, y):
            return 3 * self.outer(torch.tanh(self.inner(y) + torch.cos(3 * t)))

        def pair_slope(t, state):
            dy = slope(t, state[0])
            return dy, (dy * dy).sum(1)

        def norm(y):
            return -(y * self.weigh).pow(2).sum().sqrt() * scale

        def pair_norm(state):
            return norm(state[0]) - state[1].abs().max()

        def happens(time, state):
            return (time - t[0]).abs() - 0.8 + 0.05 * torch.tanh(state[0][0, 0])

        # The solve would be chaotic if it ran to a later event.
        field, y0, user_norm = (pair_slope, (x, x[:, 0]), pair_norm) if self.pair else (slope, x, norm)
        options = {**self.settings.get("options", {}), "norm": user_norm}
        event = {"event_fn": happens} if "until" in self.settings else {}
        settings = {name: value for name, value in self.settings.items() if name != "until"} | {"options": options}
        solved = torchdiffeq.odeint(field, y0, t, **settings, **event)
        return (solved[0], *solved[1]) if event else solved


class Number(Model):
    """A model with a state of shape (); torchdiffeq calls its norm with float64 numbers."""

    def forward(self, x, t):
        norm = {"norm": lambda y: y.abs() * 2}
        return torchdiffeq.odeint(
            lambda t, y: torch.sin(5 * t) - y, x.mean(), t, rtol=1e-4, atol=1e-5, method="dopri5", options=norm
        )


MODELS = {
    "a tensor": Model(options={"step_t": [0.2, 0.6]}),
    "a tolerance for each part": Model(pair=True, method="bosh3", rtol=(1e-4, 1e-2)),
    "until an event": Model(pair=True, until=True),
    "a number": Number(),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_both_forms_take_the_steps_of_torchdiffeq(model, tmp_path):
    x = torch.tensor([[1.0, -0.5], [0.3, 0.8]], dtype=torch.float64)
    t = torch.linspace(0, 1, 2, dtype=torch.float64)
    callee = Callee(model, (x, t), {})
    dynamic = {"x": {0: "batch"}} | ({} if "until" in model.settings else {"t": {0: "times"}})
    captured = capture(callee, dynamic, Overrides(), opset=20)
    models = {form: load_captured(captured, form, tmp_path / form) for form in ("adaptive", "driven")}
    generator = torch.Generator().manual_seed(1)
    for times in ([0.0, 1.5], [1.2, 0.3]):
        if "until" not in model.settings:
            times.insert(1, 0.7)
        tensors = torch.randn(3, 2, generator=generator, dtype=x.dtype), torch.tensor(times, dtype=x.dtype)
        expected, (count,) = run_reference(callee, tensors, Overrides())
        for form, exported in models.items():
            solution = exported.solve(*(tensor.numpy() for tensor in tensors)).raise_if_failed()
            (stats,) = solution.stats.solves
            assert (stats.steps, stats.accepted) == (count.steps, count.accepted), (form, times)
            for ours, theirs in zip(solution.outputs.values(), expected, strict=True):
                # The time of an event is the middle of a bracket, whose ends are as exact as the length of a step, and
                # so only as exact as an error estimate.
                limit = 1e-9 if "until" in model.settings else 1e-11
                np.testing.assert_allclose(ours, theirs, rtol=limit, atol=limit)


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_the_norm_of_a_float32_model_is_computed_in_float32(form, tmp_path):
    """torchdiffeq passes float64 where each part has a tolerance of its own; only the rounding of ratios differs."""
    # A first step is given: the estimated one is so short that its error is rounding, which would decide later steps.
    model = Model(pair=True, rtol=(1e-3, 1e-2), options={"first_step": 0.3}).float()
    tensors = torch.tensor([[1.0, -0.5]]), torch.tensor([0.0, 0.5, 1.5])
    callee = Callee(model, tensors, {})
    exported = load_captured(capture(callee, {}, Overrides(), opset=20), form, tmp_path)
    solution = exported.solve(*(tensor.numpy() for tensor in tensors)).raise_if_failed()
    expected, (count,) = run_reference(callee, tensors, Overrides())
    assert solution.stats.steps == count.steps
    for ours, theirs in zip(solution.outputs.values(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_a_wrong_norm_is_refused_and_an_unused_norm_is_dropped():
    def captured(norm, method="dopri5"):
        class WithNorm(nn.Module):
            def forward(self, x):
                t = torch.tensor([0.0, 1.0])
                return torchdiffeq.odeint(lambda t, y: -y, x, t, method=method, options={"norm": norm})

        overrides = Overrides() if method == "dopri5" else Overrides(steps=2)
        return capture(Callee(WithNorm(), (torch.ones(2, 2),), {}), {}, overrides, opset=20)

    with pytest.raises(CaptureError, match="norm must return one real number, as a tensor; got a torch.float32 tensor"):
        captured(lambda y: y.abs())
    with pytest.raises(CaptureError, match="norm must return one real number, as a tensor; got 1.0"):
        captured(lambda y: 1.0)
    with pytest.raises(CaptureError, match="norm='max' must be a function of the state"):
        captured("max")
    assert captured(lambda y: y.abs().max()).specs[0].functions == ("norm",)
    assert captured(lambda y: y.abs().max(), "rk4").specs[0].functions == ()
    assert captured(None).specs[0].functions == ()
