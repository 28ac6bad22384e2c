"""Slopes that broadcast over the state, that do not read it, or that are a scalar."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

TIMES = torch.tensor([0.0, 1.0])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.randn(3))
        self.lin = nn.Linear(1, 3)

    def forward(self, x):
        drift = torch.tanh(x)
        return (
            odeint(lambda t, y: self.rate * (1 + t), x, TIMES, method="rk4")[-1],
            odeint(lambda t, y: -t, x, TIMES, method="rk4")[-1],
            odeint(lambda t, y: drift, x, TIMES, rtol=1e-3, atol=1e-3),
            odeint(lambda t, y: self.lin(t[None, None]).expand_as(y), x, TIMES, rtol=1e-4, atol=1e-4)[-1],
        )


def case():
    return Case(Model(), (torch.randn(2, 3),))
