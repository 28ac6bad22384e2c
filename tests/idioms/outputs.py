"""Results that are a named tuple, a dict or a tuple, each with a path that is transposed to batch first."""

from typing import NamedTuple

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Forecast(NamedTuple):
    path: torch.Tensor
    end: torch.Tensor


class Model(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.lin = kind, nn.Linear(3, 3)

    def forward(self, x):
        path = odeint(lambda t, y: torch.sin(self.lin(y)), x, torch.linspace(0, 1, 4), method="rk4").transpose(0, 1)
        return self.kind(path, path[:, -1])


def case_named_tuple():
    return Case(Model(Forecast), (torch.randn(3, 3),))


def case_dict():
    return Case(Model(lambda path, end: {"path": path, "x": end}), (torch.randn(3, 3),))


def case_tuple():
    return Case(Model(lambda path, end: (path, end)), (torch.randn(3, 3),))
