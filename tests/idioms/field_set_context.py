"""`self.func.set_context(c)` before each of several solves of one field."""

import torch
from torch import nn
from torchdiffeq import odeint_adjoint as odeint

from idioms import BATCH, Case


class Conditioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.film = nn.Linear(2, 6)
        self.lin = nn.Linear(3, 3)
        self.scale = self.shift = None

    def set_context(self, c):
        self.scale, self.shift = self.film(c).chunk(2, dim=-1)

    def forward(self, t, y):
        return torch.tanh(self.lin(y)) * self.scale + self.shift


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.func = Conditioned()

    def forward(self, x, contexts):
        for context in contexts.unbind(1):
            self.func.set_context(context)
            x = odeint(self.func, x, torch.tensor([0.0, 0.5]), method="rk4")[-1]
        return x


def case():
    return Case(Model(), (torch.randn(3, 3), torch.randn(3, 2, 2)), BATCH | {"contexts": {0: "batch"}})
