"""Latent SDEs: an encoder, sdeint with logqp for the divergence from a prior, and a decoder."""

import torch
from torch import nn

from idioms import Case
from idioms.sde_of_torchsde import Sde

NEEDS = ("torchsde",)

TIMES = torch.linspace(0, 1, 4)


class WithPrior(Sde):
    def h(self, t, y):
        return torch.tanh(self.prior(y))


class LatentSde(nn.Module):
    def __init__(self, sde, **settings):
        super().__init__()
        self.encoder, self.posterior, self.decoder = nn.GRU(2, 6), nn.Linear(6, 6), nn.Linear(3, 2)
        self.sde, self.settings = sde, settings

    def forward(self, xs):
        import torchsde

        context, _ = self.encoder(xs.flip(0))
        mean, logstd = self.posterior(context[-1]).chunk(2, dim=1)
        z0 = mean + logstd.exp() * torch.randn_like(mean)
        zs, log_ratio = torchsde.sdeint_adjoint(
            self.sde, z0, TIMES, dt=0.2, logqp=True, adjoint_params=tuple(self.sde.parameters()), **self.settings
        )
        return self.decoder(zs), log_ratio.sum(0)


def case_diagonal():
    return Case(LatentSde(WithPrior(), method="euler"), (torch.randn(5, 4, 2),), {"xs": {1: "batch"}})


def case_one_channel():
    return Case(LatentSde(WithPrior("scalar"), method="srk"), (torch.randn(5, 4, 2),), {"xs": {1: "batch"}})


def case_two_channels():
    return Case(LatentSde(WithPrior("general")), (torch.randn(5, 4, 2),), {"xs": {1: "batch"}})


def case_five_channels():
    sde = WithPrior("general", "stratonovich", channels=5)
    return Case(LatentSde(sde, method="midpoint"), (torch.randn(5, 4, 2),), {"xs": {1: "batch"}})
