"""Masks from lengths that are sizes: `lens_to_mask` with a tensor full of the length of an axis."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


def lens_to_mask(lens):
    return (torch.arange(lens.amax())[None] < lens[:, None])[..., None]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 4)

    def forward(self, x):
        lens = torch.full((x.shape[0],), x.shape[1], dtype=torch.long)
        mask = lens_to_mask(torch.maximum(torch.full_like(lens, 2), lens))
        padding = torch.cat([torch.ones(length, 4) for length in torch.full((2,), x.shape[1])])

        def field(t, y):
            return torch.tanh(self.net(y) + padding[: y.shape[1]]) * mask

        return odeint(field, x, torch.tensor([0.0, 1.0]), method="euler")[-1]


def case():
    return Case(Model(), (torch.randn(3, 5, 4),))


def case_of_any_length():
    return Case(Model(), (torch.randn(3, 5, 4),), {"x": {0: "batch", 1: "time"}})
