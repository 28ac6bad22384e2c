"""A small U-Net: the field of a sampler of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """A field of images (batch, 4, 16, 16): two resolutions, 32 and 64 channels, with the time as a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(5, 32, 3, padding=1)
        self.down = nn.Sequential(nn.SiLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.GroupNorm(8, 64), nn.SiLU())
        self.middle = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.SiLU())
        self.up = nn.ConvTranspose2d(64, 32, 2, 2)
        self.leave = nn.Sequential(nn.Conv2d(64, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 4, 3, padding=1))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        fine = self.enter(torch.cat([x, t * torch.ones_like(x[:, :1])], 1))
        out: Tensor = self.leave(torch.cat([fine, self.up(self.middle(self.down(fine)))], 1))
        return out
