"""An end time that is a trained parameter, used as a tensor and as a number in a list."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.end = nn.Parameter(torch.tensor(0.8))

    def forward(self, x):
        learned = torch.cat([torch.zeros(1), self.end.reshape(1)])
        listed = torch.tensor([0.0, self.end.item()])
        first = odeint(lambda t, y: torch.sin(y) * t, x, learned, rtol=1e-3, atol=1e-4)[-1]
        return first + odeint(lambda t, y: torch.sin(y), x, listed, rtol=1e-3, atol=1e-4)[-1]


def case():
    return Case(Model(), (torch.randn(3, 3),))
