"""`.item()` of a scalar input: a rate that is used inside the field and after the solve."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x, rate):
        factor = rate.item()
        y = odeint(lambda t, y: torch.tanh(self.lin(y)) * factor, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]
        return y / (1.0 + factor)


def case():
    return Case(Model(), (torch.randn(3, 3), torch.tensor(0.7)))
