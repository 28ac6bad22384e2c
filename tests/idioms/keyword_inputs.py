"""Keyword-only inputs, and any number of positional inputs."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case

TIMES = torch.tensor([0.0, 1.0])


def case_by_keyword():
    net = nn.Linear(3, 3)

    def model(x, *, scale, shift=None):
        y = odeint(lambda t, y: torch.tanh(net(y)) - t, x * scale, TIMES, method="rk4")[-1]
        return y if shift is None else y + shift

    return Case(model, (torch.randn(2, 3),), BATCH, {"scale": torch.rand(1) + 0.5, "shift": None})


def case_any_number():
    net = nn.Linear(3, 3)

    def model(*parts):
        return odeint(lambda t, y: torch.tanh(net(y)), torch.cat(parts, 1), TIMES, method="rk4")[-1]

    return Case(model, (torch.randn(2, 1), torch.randn(2, 2)), {"parts_0": {0: "batch"}, "parts_1": {0: "batch"}})
