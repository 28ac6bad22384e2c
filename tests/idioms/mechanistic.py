"""Mechanistic fields with parameters: columns by `unbind`, a vector state that is unpacked and stacked."""

import torch
from torch import nn
from torchdiffeq import odeint, odeint_adjoint

from idioms import Case


class LotkaVolterra(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.5, 1.0, 3.0, 1.0], dtype=torch.float64))

    def field(self, t, z):
        x, y = z.unbind(-1)
        a, b, c, d = self.theta
        return torch.stack([a * x - b * x * y, -c * y + d * x * y], dim=-1)

    def forward(self, x):
        t = torch.arange(0.0, 2.0, 0.5, dtype=torch.float64)
        return odeint(self.field, x, t, rtol=1e-6, atol=1e-8, method="dopri8")


def case_of_a_batch():
    return Case(LotkaVolterra(), (torch.rand(3, 2, dtype=torch.float64) + 0.5,))


class Epidemic(nn.Module):
    def __init__(self):
        super().__init__()
        self.beta, self.gamma = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(0.1))

    def forward(self, t, y):
        s, i = y[0], y[1]
        flow = self.beta * s * i / y.sum()
        return torch.stack((-flow, flow - self.gamma * i, self.gamma * i))


def case_without_a_batch():
    field = Epidemic()

    def forecast(y0, t):
        return odeint_adjoint(field, y0, t, rtol=1e-5, atol=1e-6)

    return Case(forecast, (torch.tensor([0.9, 0.1, 0.05]), torch.linspace(0, 20, 5)), {"t": {0: "times"}})
