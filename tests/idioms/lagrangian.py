"""A Lagrangian field: the acceleration follows from first and second derivatives of an energy."""

import torch
from torch import nn
from torchdiffeq import odeint_adjoint

from idioms import Case


class Lagrangian(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1))

    def field(self, t, state):
        q, v = state
        with torch.enable_grad():
            q, v = q.requires_grad_(True), v.requires_grad_(True)
            energy = self.net(torch.cat([q, v], -1)).sum() + (0.5 * v**2).sum()
            dq, dv = torch.autograd.grad(energy, (q, v), create_graph=True)
            dvq = torch.autograd.grad(dv.sum(), q, retain_graph=True)[0]
            dvv = torch.autograd.grad(dv.sum(), v)[0]
        return v, (dq - dvq * v) / (1.0 + dvv**2)

    def forward(self, x):
        q, v = odeint_adjoint(self.field, (x, torch.zeros_like(x)), torch.linspace(0.0, 1.0, 4), adjoint_params=())
        return q, v


def case():
    return Case(Lagrangian().double(), (torch.randn(3, 1).double(),))
