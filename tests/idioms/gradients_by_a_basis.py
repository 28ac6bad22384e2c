"""A Jacobian by autograd.grad for a basis of directions at once: is_grads_batched, or vmap over autograd.grad."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class BatchedTrace(nn.Module):
    def __init__(self, mapped, dim=2):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, dim))
        self.mapped = mapped

    def field(self, t, state):
        with torch.enable_grad():
            z = state[0].requires_grad_(True)
            v = self.net(z)
            basis = torch.eye(z.shape[1]).unsqueeze(1).expand(-1, *z.shape)
            if self.mapped:
                rows = torch.vmap(lambda e: torch.autograd.grad(v, z, e, retain_graph=True)[0])(basis)
            else:
                rows = torch.autograd.grad(v, z, basis, is_grads_batched=True)[0]
        return v, -rows.diagonal(dim1=0, dim2=2).sum(-1)

    def forward(self, x):
        z, logp = odeint(self.field, (x, x.new_zeros(x.shape[0])), torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)
        return z[-1], logp[-1]


def case_batched_gradients():
    return Case(BatchedTrace(mapped=False), (torch.randn(3, 2),))


def case_vmap_over_gradients():
    return Case(BatchedTrace(mapped=True), (torch.randn(3, 2),))
