"""As many rows as are asked for, by repeating those that are given: the number of repeats follows from the batch."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.net = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x):
        mean = self.encoder(x)
        copies = torch.repeat_interleave(mean, 12 // mean.shape[0] + 1, dim=0)[:12]
        pairs = mean.repeat_interleave(mean.size(0), 0)
        start = torch.cat([copies, pairs])
        return odeint(lambda t, y: torch.tanh(self.net(y)), start, torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-5)[-1]


def case():
    return Case(Model(), (torch.randn(3, 3),))
