"""Solves whose fields keep something from one call to the next: each call is in the graph, or the solve is refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet_export import CaptureError, FormError, export


class Momentum(nn.Module):
    """A field that mixes the slope of its last call into the next."""

    def __init__(self, *, given=False, **settings):
        super().__init__()
        self.net, self.given, self.settings = nn.Linear(2, 2), given, settings
        self.last = []

    def field(self, t, x):
        slope = torch.tanh(self.net(x)) * (1 + t)
        if self.last:
            slope = 0.5 * (slope + self.last.pop())
        self.last.append(slope)
        return slope

    def forward(self, x, t):
        self.last.clear()
        times = t if self.given else torch.tensor([0.0, 0.3, 1.0])
        return odeint(self.field, x, times, **self.settings)


ARGS = (torch.randn(3, 2), torch.tensor([0.0, 1.0]))
BATCH = {"x": {0: "batch"}}


def test_the_graph_holds_each_call_of_a_field_with_a_memory(tmp_path):
    torch.manual_seed(0)
    model = Momentum(method="rk4", options={"step_size": 0.25})
    exported = export(model, ARGS, tmp_path / "out", dynamic=BATCH, samples=1)
    x = torch.randn(7, 2)
    with torch.no_grad():
        expected = model(x, ARGS[1]).numpy()
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(x.numpy(), ARGS[1].numpy()), expected, atol=1e-5)
    assert any("keeps something from one call to the next" in warning for warning in exported.warnings)
    assert not exported.card.solves


def test_an_adaptive_solve_of_such_a_field_is_refused_and_fixed_steps_are_named(tmp_path):
    with pytest.raises(CaptureError, match=r"test_stepping.py:\d+\n.*keeps something(.|\n)*--method rk4 --steps"):
        export(Momentum(), ARGS, tmp_path / "out", dynamic=BATCH)
    exported = export(Momentum(), ARGS, tmp_path / "out", dynamic=BATCH, method="rk4", steps=4, samples=1)
    assert exported.parity.passed


def test_times_that_are_given_in_each_call_are_refused(tmp_path):
    with pytest.raises(CaptureError, match="let the times and steps of the solve be constants"):
        export(Momentum(method="euler", given=True), ARGS, tmp_path / "out", dynamic=BATCH)


def test_no_other_form_can_be_asked_for(tmp_path):
    with pytest.raises(FormError, match="no solve of this model can be driven"):
        export(Momentum(method="euler"), ARGS, tmp_path / "out", dynamic=BATCH, form="driven")


def test_a_field_that_only_counts_its_calls_has_no_memory(tmp_path):
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            def field(t, y):
                self.calls += 1
                return -y

            return odeint(field, x, torch.tensor([0.0, 1.0]), method="rk4")

    exported = export(Counting(), ARGS[:1], tmp_path / "out", dynamic=BATCH, samples=1)
    assert [solve.form for solve in exported.card.solves] == ["unrolled"]
