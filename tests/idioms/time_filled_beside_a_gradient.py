"""A column of the time, `torch.full((n, 1), t)`, in a field that takes gradients by a state that depends on weights."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.energy = nn.Linear(2, 2), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def field(self, t, y):
        with torch.enable_grad():
            y = y.requires_grad_()
            energy = self.energy(torch.cat([y, torch.full((y.shape[0], 1), t)], 1))
            return -torch.autograd.grad(energy.sum(), y)[0]

    def forward(self, x):
        t, options = torch.tensor([0.0, 1.0]), {"step_size": 0.5}
        return odeint(self.field, self.start(x), t, method="rk4", options=options)[-1]


FORMS = ()


def case():
    return Case(Model(), (torch.randn(3, 2),))
