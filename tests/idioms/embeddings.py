"""Embeddings looked up inside the field, at indices from an input and from a table of neighbours in the module."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class StationField(nn.Module):
    def __init__(self, stations=4, dim=3):
        super().__init__()
        self.embed = nn.Embedding(stations, dim)
        self.register_buffer("neighbours", torch.tensor([[1, 2], [0, 3], [3, 0], [2, 1]]))
        self.lin = nn.Linear(2 * dim, dim)
        self.station = None

    def forward(self, t, y):
        own = self.embed(self.station)
        near = self.embed(self.neighbours[self.station]).mean(1)
        return self.lin(torch.cat([y * own, near * torch.cos(t)], dim=-1))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.func = StationField()

    def forward(self, y0, station):
        self.func.station = station
        return odeint(self.func, y0, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-4)[-1]


def case():
    args = torch.randn(4, 3), torch.tensor([0, 3, 1, 2])
    return Case(Model(), args, {"y0": {0: "batch"}, "station": {0: "batch"}})
