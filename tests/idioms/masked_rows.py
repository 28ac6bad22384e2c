"""A mask of rows among the inputs: attention has no answer for a row of which nothing is left."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Masked(nn.Module):
    """A sampler whose field attends to the elements that the mask keeps; `keep` says whether True means that."""

    def __init__(self, *, keep):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.keep = keep

    def forward(self, x, mask):
        left_out = ~mask if self.keep else mask

        def field(t, y):
            return self.attention(y, y, y, key_padding_mask=left_out, need_weights=False)[0] - y

        return odeint(field, x, torch.tensor([0.0, 1.0]), method="euler", options={"step_size": 0.25})[-1]


def masked(*, keep):
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    axes = {0: "batch", 1: "places"}
    return Case(Masked(keep=keep).eval(), (torch.randn(2, 6, 8), mask if keep else ~mask), {"x": axes, "mask": axes})


def case_keeping():
    return masked(keep=True)


def case_leaving_out():
    return masked(keep=False)
