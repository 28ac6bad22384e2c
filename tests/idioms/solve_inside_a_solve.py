"""Nested solves: the field relaxes a fast variable to its equilibrium by another solve."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class TwoScales(nn.Module):
    def __init__(self):
        super().__init__()
        self.slow, self.fast = nn.Linear(4, 2), nn.Linear(2, 2)

    def field(self, t, y):
        def relax(_s, w):
            return torch.tanh(self.fast(y)) - w

        w = odeint(relax, torch.zeros_like(y), torch.tensor([0.0, 2.0]), method="rk4", options={"step_size": 0.5})[-1]
        return self.slow(torch.cat([y, w], dim=-1)) * torch.cos(t)

    def forward(self, x):
        return odeint(self.field, x, torch.tensor([0.0, 0.5, 1.0]), method="midpoint")


def case():
    return Case(TwoScales(), (torch.randn(3, 2),))
