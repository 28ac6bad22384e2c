"""A table of inputs, interpolated between its knots by hat functions, without an index."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Interpolated(nn.Module):
    def __init__(self, knots=6):
        super().__init__()
        self.register_buffer("knots", torch.linspace(0, 1, knots))
        self.gain = nn.Linear(2, 2)

    def forward(self, y0, control):
        def at(t):
            hat = torch.relu(1 - (t - self.knots).abs() * (len(self.knots) - 1))
            return control @ hat

        def field(t, y):
            return torch.tanh(self.gain(y)) + at(t).unsqueeze(-1)

        return odeint(field, y0, torch.linspace(0, 1, 4), method="rk4", options={"step_size": 0.125})


def case():
    args = torch.randn(3, 2), torch.randn(3, 6)
    return Case(Interpolated(), args, {"y0": {0: "batch"}, "control": {0: "batch"}})
