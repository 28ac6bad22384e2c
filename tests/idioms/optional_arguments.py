"""Optional arguments: a context and times that may be None, a flag that chooses the output."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.embed = nn.Linear(3, 3), nn.Linear(2, 3)
        self.register_buffer("times", torch.tensor([0.0, 1.0]))

    def forward(self, x, context=None, ts=None, *, return_path=False):
        bias = 0.0 if context is None else self.embed(context)
        ts = self.times if ts is None else ts
        path = odeint(lambda t, y: torch.tanh(self.lin(y) + bias), x, ts, rtol=1e-3, atol=1e-4)
        return path.transpose(0, 1) if return_path else path[-1]


def case_left_out():
    return Case(Model(), (torch.randn(3, 3), None))


def case_given():
    dynamic = BATCH | {"context": {0: "batch"}, "ts": {0: "times"}}
    kwargs = {"ts": torch.linspace(0, 1, 5), "return_path": True}
    return Case(Model(), (torch.randn(3, 3), torch.randn(3, 2)), dynamic, kwargs)
