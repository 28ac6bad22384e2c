"""A Hamiltonian field: the gradient of a learned energy, taken inside the field."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class HamiltonianField(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(2 * dim, 12), nn.Tanh(), nn.Linear(12, 1))

    def forward(self, t, qp):
        with torch.enable_grad():
            qp = qp.requires_grad_()
            h = self.energy(qp).sum()
            dh = torch.autograd.grad(h, qp, create_graph=self.training)[0]
        dq, dp = torch.chunk(dh, 2, dim=-1)
        return torch.cat([dp, -dq], dim=-1)


class Hamiltonian(nn.Module):
    def __init__(self):
        super().__init__()
        self.field = HamiltonianField()

    def forward(self, q, p):
        state = torch.cat([q, p], -1)
        path = odeint(self.field, state, torch.linspace(0, 1, 3), method="rk4", options={"step_size": 0.1})
        return path.chunk(2, dim=-1)


def case():
    return Case(Hamiltonian(), (torch.randn(3, 2), torch.randn(3, 2)), {"q": {0: "batch"}, "p": {0: "batch"}})
