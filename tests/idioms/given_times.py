"""Times that the caller gives: unchanged, scaled, reversed, with a zero before them."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case

TOL = {"rtol": 1e-3, "atol": 1e-4}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def field(self, t, y):
        return torch.tanh(self.lin(y)) * torch.cos(t)

    def forward(self, x, ts):
        return (
            odeint(self.field, x, ts, **TOL),
            odeint(self.field, x, ts.flip(0), **TOL),
            odeint(self.field, x, ts / 2 + 0.1, method="rk4"),
            odeint(self.field, x, torch.cat([torch.zeros(1), ts]), method="rk4"),
        )


def case_increasing():
    return Case(Model(), (torch.randn(3, 3), torch.linspace(0.3, 1, 4)), BATCH | {"ts": {0: "times"}})


def case_decreasing():
    lin = nn.Linear(3, 3)

    def model(x, ts):
        return odeint(lambda t, y: torch.tanh(lin(y)) * t, x, ts, **TOL)

    return Case(model, (torch.randn(3, 3), torch.linspace(1, 0, 4)), BATCH | {"ts": {0: "times"}})


def case_always_two():
    def model(x, ts):
        return odeint(lambda t, y: -y * t, x, ts, method="rk4", options={"step_size": 0.1})[-1]

    return Case(model, (torch.randn(3, 3), torch.tensor([0.0, 0.6])))
