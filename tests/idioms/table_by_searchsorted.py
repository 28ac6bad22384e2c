"""A table of inputs, interpolated between its knots: `searchsorted` of the time finds the interval for `x[:, i]`."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Forced(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(2, 2)
        self.register_buffer("knots", torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]))

    def force(self, t, values):
        i = torch.searchsorted(self.knots, t).clamp(1, len(self.knots) - 1)
        share = (t - self.knots[i - 1]) / (self.knots[i] - self.knots[i - 1])
        return values[:, i - 1] + share * (values[:, i] - values[:, i - 1])

    def forward(self, y0, values):
        def field(t, y):
            return self.lin(y) + self.force(t, values)

        return odeint(field, y0, torch.linspace(0, 1, 3), method="rk4", options={"step_size": 0.125})


def case():
    dynamic = {"y0": {0: "batch"}, "values": {0: "batch"}}
    return Case(Forced(), (torch.randn(3, 2), torch.randn(3, 5, 2)), dynamic)
