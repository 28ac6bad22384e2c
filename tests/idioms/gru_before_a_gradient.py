"""A GRU before a field that takes gradients: the tracer below autograd must capture both."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 2)
        self.energy = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 1))

    def field(self, t, z):
        with torch.enable_grad():
            z = z.requires_grad_()
            return -torch.autograd.grad(self.energy(z).sum(), z)[0]

    def forward(self, x):
        h = self.head(self.gru(x)[0][:, -1])
        return odeint(self.field, h, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]


def case():
    return Case(Model(), (torch.randn(3, 4, 2),))
