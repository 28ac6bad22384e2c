"""Stacked flows as in FFJORD, forward and reverse: a chain of normalisation layers and flows with a log-density."""

import math

import torch
from torch import nn
from torchdiffeq import odeint_adjoint as odeint

from idioms import Case


class Field(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(dim + 1, 8), nn.Linear(8, dim)

    def slope(self, t, z):
        return self.lin2(torch.tanh(self.lin1(torch.cat([torch.ones_like(z[:, :1]) * t, z], 1))))

    def forward(self, t, states):
        z = states[0]
        with torch.set_grad_enabled(True):
            z.requires_grad_(True)
            dz = self.slope(t, z)
            divergence = 0.0
            for i in range(z.shape[1]):
                divergence = divergence + torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i]
        return dz, -divergence.view(-1, 1)


class Flow(nn.Module):
    def __init__(self, dim, *, end):
        super().__init__()
        self.odefunc = Field(dim)
        self.sqrt_end_time = nn.Parameter(torch.sqrt(torch.tensor(end)))

    def forward(self, z, logpz, *, reverse=False):
        times = torch.tensor([0.0, self.sqrt_end_time.detach() ** 2]).to(z)
        times = torch.flip(times, [0]) if reverse else times
        z, logpz = odeint(self.odefunc, (z, logpz), times, atol=[1e-4, 1e-4], rtol=[1e-4, 1e-4], method="dopri5")
        return z[-1], logpz[-1]


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(dim)), nn.Parameter(torch.randn(dim))

    def forward(self, z, logpz, *, reverse=False):
        change = self.weight.view(1, -1).expand_as(z).sum(-1, keepdim=True)
        if reverse:
            return (z - self.bias) * torch.exp(-self.weight), logpz + change
        return z * torch.exp(self.weight) + self.bias, logpz - change


class Stack(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.chain = nn.ModuleList([Norm(dim), Flow(dim, end=0.5), Norm(dim), Flow(dim, end=0.7)])

    def run(self, z, logpz, *, reverse=False):
        for layer in reversed(self.chain) if reverse else self.chain:
            z, logpz = layer(z, logpz, reverse=reverse)
        return z, logpz

    def forward(self, x, sample):
        z, delta = self.run(x, torch.zeros(x.shape[0], 1).to(x))
        logp = (-0.5 * z.pow(2) - 0.5 * math.log(2 * math.pi)).view(z.shape[0], -1).sum(1, keepdim=True) - delta
        made, _ = self.run(sample, torch.zeros(sample.shape[0], 1).to(sample), reverse=True)
        return z, logp, made


def case():
    return Case(Stack(), (torch.randn(3, 2), torch.randn(2, 2)), {"x": {0: "batch"}, "sample": {0: "samples"}})
