"""Sizes that come from values: the longest of some lengths, and a number of output times for a span of time."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)

    def forward(self, x, lens, span):
        mask = torch.arange(lens.max())[None] < lens[:, None]
        count = int((span[-1] - span[0]) * 5)
        times = torch.linspace(span[0].item(), float(span[-1]), count)
        y = odeint(
            lambda t, y: torch.tanh(self.net(y)) * mask[:, :, None], x[:, : int(lens.max())], times, method="rk4"
        )
        return y, span.mean().item()


def case():
    dynamic = {"x": {0: "batch"}, "lens": {0: "batch"}}
    return Case(Padded(), (torch.randn(3, 6, 3), torch.tensor([4, 2, 3]), torch.tensor([0.0, 0.5, 1.1])), dynamic)
