"""A model and its data in float64."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x):
        def field(t, y):
            return torch.tanh(self.lin(y)) - t * y

        return odeint(field, x, torch.tensor([0.0, 1.0]).double(), rtol=1e-6, atol=1e-8)[-1]


def case():
    return Case(Model().double(), (torch.randn(3, 3).double(),))
