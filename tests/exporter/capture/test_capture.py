"""An export leaves the model and torch as they were, and puts a wrong artifact aside."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

from odelet_export import ParityError, export
from odelet_export.capture.surroundings import recurrent_loops
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import SeededSource


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.norm, self.drop = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)

    def forward(self, x):
        start = self.drop(self.norm(x))
        return odeint(lambda t, y: torch.tanh(self.lin(y)), start, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]


def test_a_model_is_left_as_it_was(tmp_path):
    model = Model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    export(model, (torch.randn(3, 3),), tmp_path / "out", dynamic={"x": {0: "batch"}})
    assert all(module.training for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_wrong_artifact_is_put_aside(tmp_path):
    state = {"calls": 0}

    class Drifting(nn.Module):
        """A model with a hidden counter: each run gives another answer."""

        def forward(self, x):
            state["calls"] += 1
            return odeint(lambda t, y: -y, x * state["calls"], torch.tensor([0.0, 1.0]))

    with pytest.raises(ParityError, match=r"sample 0, output 'output': differs by .*other answers") as failed:
        export(Drifting(), (torch.rand(3, 2),), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed"]
    assert not failed.value.report.passed
    assert "FAILED" in (tmp_path / "out.failed" / "parity.md").read_text()
    assert np.isfinite(failed.value.report.max_abs)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 3, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


@pytest.mark.slow
def test_a_loop_of_one_trace_does_not_fix_the_length_of_the_next():
    model, batch, length = Encoder().requires_grad_(False), torch.export.Dim("batch"), torch.export.Dim("length")
    for axes in ({0: batch}, {0: batch, 1: length}):
        with recurrent_loops(), torch.no_grad():
            program = torch.export.export(model, (torch.randn(3, 5, 2),), dynamic_shapes=(axes,), strict=False)
    x = torch.randn(4, 7, 2)
    torch.testing.assert_close(program.module()(x), model(x))
    # torch turns the checks of distributions off when a process first compiles, as this test does when it runs alone.
    with pytest.raises(ValueError, match="parameter"):
        torch.distributions.Normal(0.0, -1.0)


@pytest.mark.parametrize("block", [recurrent_loops, lambda: drawing(SeededSource(0))], ids=["loops", "drawing"])
@pytest.mark.parametrize("checked", [True, False])
def test_the_checks_of_distributions_are_restored(block, checked, monkeypatch):
    """They are restored even after torch turned them off, as it does when a process compiles for the first time."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", checked)
    with block():
        torch.distributions.Distribution.set_default_validate_args(False)
    assert torch.distributions.Distribution._validate_args is checked
