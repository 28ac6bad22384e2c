"""An ODE-RNN: a solve between every two observations, then a GRU cell where the mask marks an observation."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case


class OdeRnn(nn.Module):
    def __init__(self, obs=2, hidden=4):
        super().__init__()
        self.cell = nn.GRUCell(obs, hidden)
        self.func = nn.Sequential(nn.Linear(hidden, 8), nn.Tanh(), nn.Linear(8, hidden))
        self.hidden = hidden

    def forward(self, x, times, mask):
        h = x.new_zeros(x.shape[0], self.hidden)
        before = times[0] - 0.1
        outputs = []
        for i in range(x.shape[1]):
            span = torch.stack([before, times[i]])
            h = odeint(lambda t, h: self.func(h), h, span, method="euler")[-1]
            seen = mask[:, i : i + 1]
            h = seen * self.cell(x[:, i], h) + (1 - seen) * h
            outputs.append(h)
            before = times[i]
        return torch.stack(outputs, dim=1)


def case():
    mask = (torch.rand(2, 3) < 0.6).float()
    args = torch.randn(2, 3, 2), torch.tensor([0.1, 0.4, 1.0]), mask
    return Case(OdeRnn(), args, BATCH | {"mask": {0: "batch"}})
