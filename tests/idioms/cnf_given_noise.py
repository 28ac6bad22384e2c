"""Hutchinson's estimate of the trace with noise that the caller gives, beside a kinetic energy; also on images."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Hutchinson(nn.Module):
    def __init__(self, dim=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Softplus(), nn.Linear(8, dim))

    def forward(self, x, eps):
        def field(t, state):
            z = state[0]
            with torch.enable_grad():
                z = z.requires_grad_(True)
                dz = self.net(z) * (1 + t)
                e_dzdx = torch.autograd.grad(dz, z, eps, create_graph=True)[0]
            return dz, -(e_dzdx * eps).sum(1, keepdim=True), dz.square().sum(1, keepdim=True)

        zeros = torch.zeros(x.shape[0], 1, dtype=x.dtype)
        z, logp, energy = odeint(field, (x, zeros, zeros.clone()), torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)
        return z[-1], logp[-1].squeeze(-1), energy[-1].mean()


def case():
    return Case(Hutchinson(), (torch.randn(3, 3), torch.randn(3, 3)), {"x": {0: "batch"}, "eps": {0: "batch"}})


class ConvFlow(nn.Module):
    def __init__(self, channels=2):
        super().__init__()
        self.a = nn.Conv2d(1, channels, 3, padding=1)
        self.b = nn.ConvTranspose2d(channels, 1, 3, padding=1)

    def field(self, t, state):
        x, _ = state
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            dx = self.b(torch.tanh(self.a(x)))
            (vjp,) = torch.autograd.grad(dx, x, torch.ones_like(dx), create_graph=True)
        return dx, -vjp.flatten(1).sum(1)

    def forward(self, x):
        y, div = odeint(self.field, (x, x.new_zeros(x.shape[0])), torch.tensor([0.0, 1.0]), method="rk4")
        return y[-1], div[-1]


def case_of_images():
    return Case(ConvFlow(), (torch.randn(2, 1, 4, 4),))
