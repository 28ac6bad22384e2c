"""Examples whose batch size is one, or equal to the number of features."""

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

        return odeint(field, x, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]


def case_of_one():
    return Case(Model(), (torch.randn(1, 3),))


def case_equal_to_features():
    return Case(Model(), (torch.randn(3, 3),))
