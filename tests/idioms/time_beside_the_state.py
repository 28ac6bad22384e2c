"""Every way to put the time beside the state: `ones_like * t`, `expand`, `repeat`, `view`, `unsqueeze`."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


def of_dim(t, y):
    # Many networks check this: they make the time a vector if it is a scalar.
    if t.dim() == 0:
        t = t.repeat(y.shape[0])
    return t[:, None] if len(t.shape) == 1 else t


def case():
    lin, gain = nn.Linear(9, 3), nn.Linear(1, 3)

    def field(t, y):
        columns = [
            torch.ones_like(y[:, :1]) * t,
            t.expand(y.shape[0], 1),
            t * torch.ones(y.shape[0], 1),
            t.unsqueeze(0).repeat(y.size(0)).unsqueeze(1),
            of_dim(t, y),
            t.repeat(y.shape[0], 1),
        ]
        return lin(torch.cat([y, *columns], 1)) + y * gain(t.view(1, 1))

    return Case(lambda x: odeint(field, x, torch.tensor([0.0, 0.6]), rtol=1e-3, atol=1e-4), (torch.randn(3, 3),))
