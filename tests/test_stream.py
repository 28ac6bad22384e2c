"""A series fed one observation at a time."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet import InputError
from odelet_export import export


class Cell(nn.Module):
    """An ODE-RNN: the hidden state moves between observations, and jumps at each."""

    def __init__(self):
        super().__init__()
        self.flow, self.cell, self.read = nn.Linear(3, 3), nn.GRUCell(2, 3), nn.Linear(3, 1)

    def forward(self, h, t0, t1, x):
        moved = odeint(lambda t, y: torch.tanh(self.flow(y)), h, torch.stack([t0, t1]), rtol=1e-5, atol=1e-6)[-1]
        h1 = self.cell(x, moved)
        return {"h1": h1, "out": self.read(h1)}


@pytest.fixture(scope="module")
def cell():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Cell().double().eval()


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_observations_fed_one_at_a_time_are_torchs_loop(form, cell, tmp_path):
    generator = np.random.default_rng(0)
    times, series = np.cumsum(generator.uniform(0.1, 1, 6)), generator.normal(size=(6, 1, 2))
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    export(cell, (torch.zeros(1, 3).double(), zero, one, torch.ones(1, 2).double()), tmp_path / "out", form=form)
    model = odelet.load(tmp_path / "out")
    state, out = (tensor.name for tensor in model.outputs)
    stream = model.stream(carry={"h": state, "t0": "t1"}, h=np.zeros((1, 3)), t0=np.zeros(()))
    h, t0 = torch.zeros(1, 3).double(), zero
    for time, x in zip(times, series, strict=True):
        t1 = torch.tensor(time)
        with torch.no_grad():
            expected = cell(h, t0, t1, torch.from_numpy(x))
        h, t0 = expected["h1"], t1
        found = stream.solve(t1=np.array(time), x=x)
        assert found.outputs[out] == pytest.approx(expected["out"].numpy(), abs=1e-10)
    assert stream.steps == 6
    with pytest.raises(InputError, match="'h' is carried"):
        stream(h=np.zeros((1, 3)), t1=np.array(9.0), x=series[0])
    with pytest.raises(InputError, match="no input 'z'"):
        model.stream(carry={"z": state})
    with pytest.raises(InputError, match="neither an output"):
        model.stream(carry={"h": "z"}, h=np.zeros((1, 3)))
    with pytest.raises(InputError, match="the first call needs a value of t0"):
        model.stream(carry={"h": state, "t0": "t1"}, h=np.zeros((1, 3)))
