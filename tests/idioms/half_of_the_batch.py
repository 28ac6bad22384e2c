"""A field that takes half of the batch, as DiT's `forward_with_cfg` does: only batches of even size are possible."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)

    def field(self, t, y):
        half = y[: len(y) // 2]
        out = torch.tanh(self.net(torch.cat([half, half], dim=0)))
        first, second = torch.split(out, len(out) // 2, dim=0)
        guided = second + 4.0 * (first - second)
        return torch.cat([guided, guided], dim=0)

    def forward(self, x):
        return odeint(self.field, x, torch.tensor([0.0, 1.0]), method="euler", options={"step_size": 0.5})[-1]


def case():
    return Case(Model(), (torch.randn(6, 3),))
