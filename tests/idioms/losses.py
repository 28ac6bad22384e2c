"""Outputs computed from a solution: a Gaussian log-likelihood of data, a loss, the last state."""

import torch
from torch import nn
from torch.distributions import Independent, Normal
from torchdiffeq import odeint

from idioms import BATCH, Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.func, self.decoder = nn.Linear(3, 3), nn.Linear(3, 2)
        self.log_std = nn.Parameter(torch.tensor([-1.0, -0.5]))

    def forward(self, x, data, mask):
        path = odeint(lambda t, z: torch.tanh(self.func(z)), x, torch.linspace(0, 1, data.shape[1]), method="rk4")
        mean = self.decoder(path.permute(1, 0, 2))
        each = Normal(mean, self.log_std.exp()).log_prob(data)
        likelihood = (each * mask.unsqueeze(-1)).sum((1, 2)) / mask.sum(1).clamp(min=1)
        prior = Independent(Normal(torch.zeros(3), torch.ones(3)), 1).log_prob(path[0])
        loss = nn.functional.mse_loss(mean * mask.unsqueeze(-1), data) - (likelihood + prior).mean()
        return loss, likelihood, path[-1]


def case():
    args = torch.randn(3, 3), torch.randn(3, 4, 2), (torch.rand(3, 4) < 0.7).float()
    return Case(Model(), args, BATCH | {"data": {0: "batch"}, "mask": {0: "batch"}})
