"""Classifier-free guidance in one call: both halves in one batch, `cat([x, x])`, and the two answers apart again."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self, apart):
        super().__init__()
        self.net, self.apart = nn.Linear(3, 3), apart
        self.register_buffer("scale", torch.tensor([2.0]))

    def field(self, t, y):
        conditions = torch.cat([torch.ones(len(y), 1), torch.zeros(len(y), 1)])
        both = torch.tanh(self.net(torch.cat([y, y]) + conditions))
        with_text, without = self.apart(both, y.shape[0])
        # A view of a constant beside the constant's number.
        return without + float(self.scale) * self.scale.expand(y.shape[0], 1) * (with_text - without)

    def forward(self, x):
        return odeint(self.field, x, torch.tensor([0.0, 1.0]), method="euler", options={"step_size": 0.5})[-1]


def case_chunk():
    return Case(Model(lambda both, n: both.chunk(2)), (torch.randn(4, 3),))


def case_split():
    return Case(Model(lambda both, n: torch.split(both, len(both) // 2, dim=0)), (torch.randn(4, 3),))


def case_int_of_half_the_length():
    def halves(both, n):
        half = int(len(both) / 2)
        return both[:half], both[half:]

    return Case(Model(halves), (torch.randn(4, 3),))


def case_unflatten():
    return Case(Model(lambda both, n: both.unflatten(0, (2, n)).unbind(0)), (torch.randn(4, 3),))
