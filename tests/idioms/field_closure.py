"""The field is a closure over the output of an encoder and another input of the model."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Forced(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
        self.net = nn.Linear(3 + 4 + 1, 3)

    def forward(self, y0, history, dose):
        context = self.encoder(history)

        def field(t, y):
            return self.net(torch.cat([y, context, dose * torch.exp(-t)], dim=1)) - 0.1 * y

        return odeint(field, y0, torch.linspace(0, 2, 3), rtol=1e-4, atol=1e-4)


def case():
    args = torch.randn(3, 3), torch.randn(3, 5), torch.rand(3, 1)
    return Case(Forced(), args, {name: {0: "batch"} for name in ("y0", "history", "dose")})
