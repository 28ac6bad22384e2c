"""An encoder that runs backwards in time, as a handwritten loop over the observations."""

import torch
import torch.nn.functional as F
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self, obs=2, hidden=5, latent=3):
        super().__init__()
        self.hidden = hidden
        self.mix = nn.Linear(obs + hidden, hidden)
        self.summary = nn.Linear(hidden, latent * 2)
        self.fc1, self.fc2 = nn.Linear(latent, 8), nn.Linear(8, latent)

    def field(self, t, x):
        return self.fc2(F.elu(self.fc1(x)))

    def forward(self, x):
        h = torch.zeros(x.size(0), self.hidden).to(x.device)
        for i in reversed(range(x.size(1))):
            h = torch.tanh(self.mix(torch.cat((x[:, i, :], h), dim=1)))
        out = self.summary(h)
        mean = out[:, : out.shape[1] // 2]
        return odeint(self.field, mean, torch.linspace(0, 1, steps=4), method="midpoint")


def case():
    return Case(Model(), (torch.randn(3, 5, 2),))
