"""`before_odeint(noise)` sets attributes of the field before the solve, with noise that the caller gives."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self._e = None
        self.register_buffer("_num_evals", torch.tensor(0.0))

    def before_odeint(self, e=None):
        self._e = e
        self._num_evals.fill_(0)

    def forward(self, t, states):
        y, _ = states
        self._num_evals += 1
        if self._e is None:
            self._e = torch.randn_like(y)
        with torch.set_grad_enabled(True):
            y = y.requires_grad_(True)
            dy = torch.tanh(self.lin(y)) * (1 + t)
            product = torch.autograd.grad(dy, y, self._e, create_graph=True)[0]
        divergence = (product * self._e).view(y.shape[0], -1).sum(1, keepdim=True)
        return dy, -divergence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.odefunc = Noisy()

    def forward(self, x, noise):
        self.odefunc.before_odeint(noise)
        state = x, torch.zeros(x.shape[0], 1).to(x)
        z, delta = odeint(self.odefunc, state, torch.tensor([0.0, 1.0]), rtol=[1e-4, 1e-4], atol=[1e-4, 1e-4])
        return z[-1], delta[-1]


def case():
    return Case(Model(), (torch.randn(3, 3), torch.randn(3, 3)), BATCH | {"noise": {0: "batch"}})
