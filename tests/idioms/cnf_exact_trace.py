"""A continuous normalizing flow, solved backwards; the divergence of the field is computed column by column."""

import math

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class TimedTanh(nn.Module):
    """A mixture of rank-one tanh layers whose weights a small network computes from the time."""

    def __init__(self, dim=2, units=4):
        super().__init__()
        self.dim, self.units = dim, units
        self.weights_of = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, units * (2 * dim + 1)))

    def forward(self, t, z):
        made = self.weights_of(t.view(1, 1)).view(self.units, 2 * self.dim + 1)
        inward, outward, offset = made.split([self.dim, self.dim, 1], dim=1)
        return torch.tanh(z @ inward.T + offset.T) @ outward / self.units


class Density(nn.Module):
    def __init__(self):
        super().__init__()
        self.velocity = TimedTanh()
        self.register_buffer("times", torch.tensor([4.0, 0.0]))

    def field(self, t, state):
        position = state[0]
        with torch.enable_grad():
            position.requires_grad_(True)
            velocity = self.velocity(t, position)
            columns = velocity.unbind(1)
            gradients = [torch.autograd.grad(column.sum(), position, create_graph=True)[0] for column in columns]
        divergence = sum(gradient[:, i] for i, gradient in enumerate(gradients))
        return velocity, -divergence[:, None]

    def forward(self, x):
        state = (x, x.new_zeros(x.shape[0], 1))
        path, change = odeint(self.field, state, self.times, rtol=1e-3, atol=1e-3)
        base = -0.5 * path[-1].square().sum(1) - math.log(2 * math.pi)
        return base - change[-1, :, 0]


def case():
    return Case(Density(), (torch.randn(4, 2),))
