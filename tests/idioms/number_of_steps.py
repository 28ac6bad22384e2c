"""A sampler that takes its number of steps and a guidance scale as Python numbers, both inputs of the artifact."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Guided(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x, condition, n_timesteps: int = 10, guidance: float = 1.0):
        def field(t, y):
            time = torch.full((y.shape[0], 1), float(t))
            with_condition = self.net(torch.cat([y + condition, time], 1))
            return torch.lerp(self.net(torch.cat([y, time], 1)), with_condition, guidance)

        times = torch.linspace(0, 1, n_timesteps + 1, device=x.device)
        return odeint(field, x, times + 0.3 * (1 - torch.cos(torch.pi * times)), method="midpoint")[-1]


def case():
    dynamic = {"x": {0: "batch"}, "condition": {0: "batch"}, "n_timesteps": "n", "guidance": "guidance"}
    return Case(Guided(), (torch.randn(3, 2), torch.randn(3, 2), 5, 1.5), dynamic)
