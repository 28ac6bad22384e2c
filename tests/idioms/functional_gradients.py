"""Derivatives by torch.func inside the field: an exact divergence by `jacrev` or `jacfwd` under `vmap`, and `jvp`."""

import torch
from torch import nn
from torch.func import hessian, jacfwd, jacrev, jvp, vmap
from torchdiffeq import odeint

from idioms import Case


class FunctionalTrace(nn.Module):
    def __init__(self, jacobian, dim=2):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, dim))
        self.jacobian = jacobian

    def field(self, t, state):
        z = state[0]
        trace = vmap(self.jacobian(self.net))(z).diagonal(dim1=-2, dim2=-1).sum(-1)
        _, along = jvp(self.net, (z,), (torch.ones_like(z),))
        return self.net(z), -trace, along

    def forward(self, x):
        start = x, x.new_zeros(x.shape[0]), torch.zeros_like(x)
        z, logp, along = odeint(self.field, start, torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)
        return z[-1], logp[-1], along[-1]


class TimeInTheState(nn.Module):
    """torch.cat and layer norm under vmap: torch computes both with sizes that are plain numbers."""

    def __init__(self, dim=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim + 1, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, dim))

    def forward(self, x):
        def field(t, state):
            def velocity(z):
                return self.net(torch.cat([z, t.reshape(1)]))

            v = vmap(velocity)(state[0])
            return v, -vmap(lambda z: torch.trace(jacrev(velocity)(z)))(state[0])

        ends = odeint(field, (x, x.new_zeros(len(x))), torch.tensor([0.0, 1.0]), method="rk4")
        return ends[0][-1], ends[1][-1]


class Curvature(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(dim, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, x):
        def field(t, y):
            curvature = vmap(hessian(lambda z: self.energy(z).sum()))(y)
            return -torch.einsum("bij,bj->bi", curvature, y)

        return odeint(field, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]


def case_jacrev():
    return Case(FunctionalTrace(jacrev), (torch.randn(3, 2),))


def case_jacfwd():
    return Case(FunctionalTrace(jacfwd), (torch.randn(3, 2),))


def case_hessian():
    return Case(Curvature(), (torch.randn(3, 2),))


def case_time_in_the_state():
    return Case(TimeInTheState(), (torch.randn(3, 3),))
