"""The field is a bound method that reads a context; forward sets it on the module before the solve and clears it."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.context = None

    def dynamics(self, t, y):
        return self.lin(y) * self.context - y

    def forward(self, x):
        self.context = torch.sigmoid(x.sum(-1, keepdim=True))
        out = odeint(self.dynamics, x, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]
        self.context = None
        return out


def case():
    return Case(Model(), (torch.randn(3, 3),))
