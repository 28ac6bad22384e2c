"""A field with the derivative of a net by torch.func.linearize, and a net that is mapped over the batch in pieces."""

import torch
from torch import nn
from torch.func import linearize, vmap
from torchdiffeq import odeint

from idioms import Case

FORMS = ()


class Linearized(nn.Module):
    def __init__(self, dim=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, dim))

    def forward(self, x):
        def field(t, y):
            value, along = linearize(self.net, y)
            return vmap(self.net, chunk_size=2)(value) - along(y.cos())

        return odeint(field, x, torch.tensor([0.0, 0.5]), method="euler")[-1]


def case():
    return Case(Linearized(), (torch.randn(3, 3),))
