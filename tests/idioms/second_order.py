"""A second-order field: position and velocity in one tensor; a layer computes the first velocity."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class SecondOrder(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.dim = dim
        self.force = nn.Sequential(nn.Linear(2 * dim, 8), nn.Tanh(), nn.Linear(8, dim))

    def forward(self, t, z):
        position, velocity = z[..., : self.dim], z[..., self.dim :]
        return torch.cat((velocity, self.force(torch.cat((position, velocity), -1)) - 0.1 * velocity), dim=-1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.field, self.start = SecondOrder(), nn.Linear(2, 2)

    def forward(self, x):
        z0 = torch.cat((x, self.start(x)), dim=1)
        return odeint(self.field, z0, torch.linspace(0, 2, 5), rtol=1e-4, atol=1e-5)[..., :2]


def case():
    return Case(Model(), (torch.randn(3, 2),))
