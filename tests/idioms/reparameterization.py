"""Reparameterization: noise drawn in the model, `mean + std * torch.randn_like(std)`, before the solve."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self, obs=2, latent=3):
        super().__init__()
        self.encoder = nn.Linear(obs, 2 * latent)
        self.func, self.decoder = nn.Linear(latent, latent), nn.Linear(latent, obs)

    def forward(self, x):
        mean, logvar = self.encoder(x).chunk(2, dim=-1)
        std = torch.exp(0.5 * logvar)
        z0 = mean + std * torch.randn_like(std)
        z = odeint(lambda t, z: torch.tanh(self.func(z)), z0, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-4)[-1]
        return self.decoder(z), mean, logvar


def case():
    return Case(Model(), (torch.randn(3, 2),))
