"""torchdiffeq's demo: a field of the cube of a state (batch, 1, 2), at any times; its true field, without a batch."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class SpiralField(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.1)
                nn.init.constant_(layer.bias, 0)

    def forward(self, t, y):
        return self.net(y**3)


class Spiral(nn.Module):
    def __init__(self):
        super().__init__()
        self.func = SpiralField()

    def forward(self, starts, ts):
        return odeint(self.func, starts, ts, rtol=1e-4, atol=1e-5)


def case():
    dynamic = {"starts": {0: "batch"}, "ts": {0: "times"}}
    return Case(Spiral(), (torch.rand(5, 1, 2) + 0.5, torch.linspace(0, 2.5, 8)), dynamic)


class LinearTruth(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])

    def forward(self, t, y):
        return torch.mm(y**3, self.matrix)


def case_of_the_truth():
    field = LinearTruth()

    def solve(y0):
        t = torch.linspace(0.0, 3.0, 11)
        with torch.no_grad():
            return odeint(field, y0, t, method="dopri5", rtol=1e-5)

    return Case(solve, (torch.tensor([[2.0, 0.5]]),), {})
