"""Nested solves: the field relaxes a fast variable to its equilibrium by another solve."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class TwoScales(nn.Module):
    def __init__(self):
        super().__init__()
        self.slow, self.fast = nn.Linear(4, 2), nn.Linear(2, 2)

    def field(self, t, y):
        def relax(_s, w):
            return torch.tanh(self.fast(y)) - w

        w = odeint(relax, torch.zeros_like(y), torch.tensor([0.0, 2.0]), method="rk4", options={"step_size": 0.5})[-1]
        return self.slow(torch.cat([y, w], dim=-1)) * torch.cos(t)

    def forward(self, x):
        return odeint(self.field, x, torch.tensor([0.0, 0.5, 1.0]), method="midpoint")


def case():
    return Case(TwoScales(), (torch.randn(3, 2),))


class UpToNow(nn.Module):
    """A cost that grows with what has been gained until now, which another solve finds where any time has passed."""

    def __init__(self):
        super().__init__()
        self.net, self.gain = nn.Linear(2, 2), nn.Linear(2, 1)

    def field(self, t, state):
        y, cost = state
        slope = torch.tanh(self.net(y))
        rate = slope.square().sum(1, keepdim=True)
        if torch.is_nonzero(t):
            times = torch.tensor([0, t]).type(torch.float32)
            gained = odeint(
                lambda s, g: self.gain(y) * torch.cos(s) - g,
                torch.zeros_like(cost),
                times,
                method="midpoint",
                options={"step_size": 0.1},
            )
            return slope, rate * torch.exp(gained[-1])
        return slope, rate

    def forward(self, x):
        start = (x, torch.zeros(x.shape[0], 1))
        y, cost = odeint(
            self.field, start, torch.tensor([0.0, 0.5, 1.0]), method="midpoint", options={"step_size": 0.25}
        )
        return y[-1], cost[-1]


def case_until_now():
    return Case(UpToNow(), (torch.randn(3, 2),))
