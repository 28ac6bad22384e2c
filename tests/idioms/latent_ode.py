"""A latent ODE: a GRU reads backwards; the latent state is a mean or a sample by given noise, decoded at any times."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case


class LatentOde(nn.Module):
    def __init__(self, obs=2, hidden=6, latent=4):
        super().__init__()
        self.gru = nn.GRU(obs, hidden, batch_first=True)
        self.to_latent = nn.Linear(hidden, 2 * latent)
        self.func = nn.Sequential(nn.Linear(latent, 12), nn.ELU(inplace=True), nn.Linear(12, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 8), nn.ReLU(inplace=True), nn.Linear(8, obs))

    def forward(self, x, ts, noise=None):
        _, h = self.gru(x.flip(1))
        mean, logvar = self.to_latent(h[-1]).chunk(2, dim=-1)
        z0 = mean if noise is None else mean + torch.exp(0.5 * logvar) * noise
        z = odeint(lambda t, z: self.func(z), z0, ts, rtol=1e-3, atol=1e-4).permute(1, 0, 2)
        return {"x": self.decoder(z), "mean": mean, "logvar": logvar}


def case_of_the_mean():
    dynamic = BATCH | {"ts": {0: "times"}}
    return Case(LatentOde(), (torch.randn(3, 7, 2), torch.linspace(0, 1, 5)), dynamic)


def case_of_given_noise():
    dynamic = {"x": {0: "batch", 1: "length"}, "ts": {0: "times"}, "noise": {0: "batch"}}
    return Case(LatentOde(), (torch.randn(3, 7, 2), torch.linspace(0, 1, 5), torch.randn(3, 4)), dynamic)
