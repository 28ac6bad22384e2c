"""The generator of an SDE-GAN: general noise, the reversible Heun method, and times that are an argument."""

import torch
from torch import nn

from idioms import Case

NEEDS = ("torchsde",)


class GeneratorField(nn.Module):
    sde_type, noise_type = "stratonovich", "general"

    def __init__(self, hidden=4, channels=3):
        super().__init__()
        self.channels = channels
        self.drift = nn.Sequential(nn.Linear(hidden + 1, 8), nn.SiLU(), nn.Linear(8, hidden), nn.Tanh())
        self.spread = nn.Sequential(nn.Linear(hidden + 1, 8), nn.SiLU(), nn.Linear(8, hidden * channels), nn.Tanh())

    def f_and_g(self, t, x):
        tx = torch.cat([t.expand(x.size(0), 1), x], dim=1)
        return self.drift(tx), self.spread(tx).view(x.size(0), -1, self.channels)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.initial, self.field, self.readout = nn.Linear(2, 4), GeneratorField(), nn.Linear(4, 1)
        self.register_buffer("times", torch.linspace(0, 5, 6))

    def forward(self, batch_size):
        import torchsde

        x0 = self.initial(torch.randn(batch_size, 2))
        xs = torchsde.sdeint_adjoint(
            self.field,
            x0,
            self.times,
            method="reversible_heun",
            dt=1.0,
            adjoint_method="adjoint_reversible_heun",
            adjoint_params=(x0, *self.field.parameters()),
        )
        return self.readout(xs.transpose(0, 1))


def case():
    return Case(Generator(), (4,), {"batch_size": "batch"})
