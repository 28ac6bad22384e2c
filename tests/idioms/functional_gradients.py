"""Derivatives by torch.func inside the field: `jacrev` under `vmap`, and `jvp`."""

import torch
from torch import nn
from torch.func import jacrev, jvp, vmap
from torchdiffeq import odeint

from idioms import Case

NOT_YET = "found: "


class FunctionalTrace(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, dim))

    def field(self, t, state):
        z = state[0]
        jacobian = vmap(jacrev(self.net))(z)
        trace = jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
        _, along = jvp(self.net, (z,), (torch.ones_like(z),))
        return self.net(z), -trace, along

    def forward(self, x):
        start = x, x.new_zeros(x.shape[0]), torch.zeros_like(x)
        z, logp, along = odeint(self.field, start, torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)
        return z[-1], logp[-1], along[-1]


def case():
    return Case(FunctionalTrace(), (torch.randn(3, 2),))
