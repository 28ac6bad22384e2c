"""A Lagrangian net of positions and speeds, differentiated by torch.func in one argument and then in the other."""

import torch
from torch import nn
from torch.func import grad, hessian, jacrev, vmap
from torchdiffeq import odeint

from idioms import Case

FORMS = ()


class Lagrangian(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1))

    def lagrangian(self, q, v):
        return self.net(torch.cat([q, v])).sum() + 0.5 * (v * v).sum()

    def acceleration(self, q, v):
        mass = hessian(self.lagrangian, argnums=1)(q, v)
        coupling = jacrev(grad(self.lagrangian, argnums=1), argnums=0)(q, v)
        return torch.linalg.solve(mass, grad(self.lagrangian)(q, v) - coupling @ v)

    def forward(self, x):
        def field(t, state):
            q, v = state.chunk(2, dim=-1)
            return torch.cat([v, vmap(self.acceleration)(q, v)], dim=-1)

        return odeint(field, x, torch.tensor([0.0, 0.5]), method="euler")[-1]


def case():
    return Case(Lagrangian(), (torch.randn(3, 4),))
