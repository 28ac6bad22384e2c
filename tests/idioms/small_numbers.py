"""Numbers that are small beside others: 1e-8 under a root and in a denominator, and factors that are nearly 1."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)

    def forward(self, x):
        # Each particle is compared with itself, too, where the distance is 0.
        gaps = x[:, :, None] - x[:, None]

        def field(t, y):
            gaps = y[:, :, None] - y[:, None]
            distances = torch.sqrt((gaps**2).sum(-1, keepdim=True) + 1e-8)
            unit = gaps / (distances + 1e-9)
            return torch.tanh(self.net(y)) + (unit / distances).clamp(-10, 10).sum(2) * 1e-2

        y = odeint(field, x, torch.tensor([0.0, 1.0]), method="rk4", options={"step_size": 0.25})[-1]
        zero = gaps.sum((1, 2))  # the gaps there and back
        return y, torch.log(zero.abs() * 0 + 1e-10), (x * 0 + 1) * 1.000006 - (x * 0 + 1), 1e-30 / (zero * 0 + 1e-28)


def case():
    return Case(Model(), (torch.randn(3, 4, 3),))
