"""Sinusoids and powers of the time, appended to the state and used as a gain."""

import math

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Sinusoids(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.register_buffer("rates", torch.exp(-math.log(100.0) * torch.arange(dim // 2) / (dim // 2)))

    def forward(self, t):
        angles = 2 * math.pi * t.reshape(-1, 1) * self.rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(Sinusoids(6), nn.Linear(6, 4), nn.SiLU())
        self.lin = nn.Linear(3 + 4, 3)

    def forward(self, t, y):
        waves = self.embed(t).expand(y.shape[0], -1)
        return self.lin(torch.cat([y, waves], 1)) + y * torch.stack([t**i for i in range(3)])


def case():
    field, times = Field(), torch.tensor([0.0, 0.6])
    return Case(lambda x: odeint(field, x, times, rtol=1e-3, atol=1e-4), (torch.randn(3, 3),))
