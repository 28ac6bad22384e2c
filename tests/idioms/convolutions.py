"""A classifier of images: 4-D state, GroupNorm, in-place ReLU, transposed convolution, BatchNorm, a Flatten."""

import torch
from torch import nn
from torchdiffeq import odeint_adjoint as odeint

from idioms import Case


class ConcatConv(nn.Module):
    def __init__(self, channels, *, transpose=False):
        super().__init__()
        layer = nn.ConvTranspose2d if transpose else nn.Conv2d
        self.layer = layer(channels + 1, channels, 3, padding=1)

    def forward(self, t, x):
        time = torch.ones_like(x[:, :1, :, :]) * t
        return self.layer(torch.cat([time, x], 1))


class ConvField(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(min(4, channels), channels) for _ in range(2))
        self.conv1, self.conv2 = ConcatConv(channels), ConcatConv(channels, transpose=True)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, t, x):
        hidden = self.conv1(t, self.relu(self.norm1(x)))
        return self.conv2(t, self.relu(self.norm2(hidden)))


class Block(nn.Module):
    def __init__(self, field):
        super().__init__()
        self.dynamics = field
        self.span = torch.tensor([0, 1]).float()

    def forward(self, x):
        return odeint(self.dynamics, x, self.span.type_as(x), rtol=1e-3, atol=1e-3)[1]


class Flatten(nn.Module):
    def forward(self, x):
        count = torch.prod(torch.tensor(x.shape[1:])).item()
        return x.reshape(-1, count)


def case():
    stem = [nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    head = [nn.GroupNorm(4, 8), nn.AdaptiveAvgPool2d((1, 1)), Flatten(), nn.Linear(8, 10)]
    model = nn.Sequential(*stem, Block(ConvField(8)), *head).train()
    return Case(model, (torch.randn(1, 1, 9, 9),), {"input": {0: "batch"}})
