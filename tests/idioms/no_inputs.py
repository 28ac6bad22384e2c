"""A model without inputs, in which everything is a parameter."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Fitted(nn.Module):
    def __init__(self):
        super().__init__()
        self.start = nn.Parameter(torch.randn(3))
        self.rates = nn.Parameter(torch.rand(3))
        self.end = nn.Parameter(torch.tensor(1.5))

    def forward(self):
        t = torch.linspace(0, 1, 4) * self.end
        return odeint(lambda t, y: -self.rates * y, self.start, t, rtol=1e-4, atol=1e-6)


def case():
    return Case(Fitted(), (), {})
