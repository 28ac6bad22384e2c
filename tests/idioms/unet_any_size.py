"""A U-net on pictures of any height and width that are even: strided convolutions, transposed ones and skips."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class HalvingUnet(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.into = nn.Conv2d(1, channels, 3, padding=1)
        self.down = nn.Conv2d(channels, channels, 4, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
        self.out = nn.Conv2d(2 * channels, 1, 3, padding=1)

    def forward(self, t, x):
        skipped = self.into(x)
        return self.out(torch.cat([self.up(self.down(skipped).tanh()), skipped], 1)) - t * x


class PictureFlow(nn.Module):
    def __init__(self):
        super().__init__()
        self.v = HalvingUnet()

    def forward(self, x):
        return odeint(self.v, x, torch.linspace(0, 1, 5), method="euler")[-1]


def case():
    return Case(PictureFlow(), (torch.randn(2, 1, 8, 8),), {"x": {0: "batch", 2: "height", 3: "width"}})
