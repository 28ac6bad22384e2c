"""The field is a `functools.partial` over a number and a tensor of the model."""

import functools

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case


def case():
    lin = nn.Linear(3, 3)

    def field(scale, context, t, y):
        return torch.tanh(lin(y)) * scale + context * t

    def model(x, *, scale=0.5):
        context = x.mean(1, keepdim=True)
        t = torch.tensor([0.0, 1.0])
        return odeint(functools.partial(field, scale, context), x, t, rtol=1e-3, atol=1e-3)[-1]

    return Case(model, (torch.randn(4, 3),), BATCH, {"scale": 0.7})
