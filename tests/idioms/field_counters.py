"""A field that counts its calls in a Python number and in a buffer."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.nfe = 0
        self.register_buffer("calls", torch.tensor(0.0))

    def forward(self, t, y):
        self.nfe += 1
        self.calls += 1
        return torch.tanh(self.lin(y)) * t


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.func = Counting()

    def forward(self, x):
        self.func.nfe = 0
        self.func.calls.fill_(0)
        return odeint(self.func, x, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]


def case():
    return Case(Model(), (torch.randn(3, 3),))
