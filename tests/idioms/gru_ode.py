"""GRU-ODE: the field is a GRU cell made continuous, with a jump by a cell between two solves."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case


class GruField(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.reset, self.update, self.new = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))

    def forward(self, t, h):
        r, z = torch.sigmoid(self.reset(h)), torch.sigmoid(self.update(h))
        return (1 - z) * (torch.tanh(self.new(r * h)) - h)


class GruOde(nn.Module):
    def __init__(self, obs=2, hidden=4):
        super().__init__()
        self.field, self.cell, self.head = GruField(hidden), nn.GRUCell(obs, hidden), nn.Linear(hidden, 2 * obs)

    def forward(self, x, h0):
        h = odeint(self.field, h0, torch.tensor([0.0, 0.5]), rtol=1e-3, atol=1e-4)[-1]
        h = self.cell(x, h)
        h = odeint(self.field, h, torch.tensor([0.5, 0.8, 1.0]), rtol=1e-3, atol=1e-4)
        mean, log_variance = self.head(h).chunk(2, dim=-1)
        return {"mean": mean, "variance": log_variance.exp()}


def case():
    return Case(GruOde(), (torch.randn(3, 2), torch.randn(3, 4)), BATCH | {"h0": {0: "batch"}})
