"""Hutchinson noise that the field draws in its first call and keeps for the solve: `if self._e is None`."""

import torch
from torch import nn
from torchdiffeq import odeint_adjoint as odeint

from idioms import Case


class Drawn(nn.Module):
    def __init__(self, dim=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Softplus(), nn.Linear(8, dim))
        self._e = None

    def before_odeint(self, e=None):
        self._e = e

    def forward(self, t, states):
        z = states[0]
        if self._e is None:
            self._e = torch.randn_like(z)
        with torch.set_grad_enabled(True):
            z.requires_grad_(True)
            dz = self.net(z) * torch.cos(t)
            e_dzdx = torch.autograd.grad(dz, z, self._e, create_graph=True)[0]
        return dz, -(e_dzdx * self._e).sum(dim=1, keepdim=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.odefunc = Drawn()

    def forward(self, x):
        self.odefunc.before_odeint()
        zeros = torch.zeros(x.shape[0], 1).to(x)
        z, delta = odeint(self.odefunc, (x, zeros), torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)
        return z[-1], delta[-1]


def case():
    return Case(Model(), (torch.randn(3, 3),))
