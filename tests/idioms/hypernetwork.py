"""A hypernetwork: the weights of the field's layers are computed from the time."""

import torch
import torch.nn.functional as F
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class HyperLinear(nn.Module):
    def __init__(self, inward, outward):
        super().__init__()
        self.shape = outward, inward
        self.hyper = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, outward * inward + outward))

    def forward(self, t, x):
        outward, inward = self.shape
        made = self.hyper(t.view(1, 1)).view(-1)
        return F.linear(x, made[: outward * inward].view(outward, inward), made[outward * inward :])


class Field(nn.Module):
    def __init__(self, dim=3, hidden=6):
        super().__init__()
        self.layers = nn.ModuleList([HyperLinear(dim, hidden), HyperLinear(hidden, dim)])

    def forward(self, t, x):
        return self.layers[1](t, torch.relu(self.layers[0](t, x)))


def case():
    field, times = Field(), torch.tensor([0.0, 1.0])
    return Case(
        lambda x: odeint(field, x, times, method="midpoint", options={"step_size": 0.1})[-1], (torch.randn(3, 3),)
    )
