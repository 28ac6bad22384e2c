"""Normalizing flows of images with 256 levels: Glow, and an ODE with a convolutional field.

Each flow is called with whole numbers x (batch, 1, 14, 14) from 0 to 255 and returns a lower bound of log P(x) in nats,
(batch,), with noise that it draws; its method `inverse` maps normal noise to images of the same shape.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models.flows_networks import normal

SIDE = 14
LEVELS = 256
MARGIN = 1e-6
CENTRE, SPREAD = -4.0, 4.0


def dequantized(x: Tensor) -> tuple[Tensor, Tensor]:
    """Images of levels as real numbers around 0, shaped like x, and the logarithm of the change of volume, (batch,).

    Noise makes a level uniform over an interval, the logit makes numbers near 0 and 1 far apart (Dinh et al., Real-NVP,
    2017), and the result is shifted and scaled. The mean of log p(y) plus the change is at most log P(x).
    """
    share = MARGIN + (1 - 2 * MARGIN) * (x + torch.rand_like(x)) / LEVELS
    y = torch.logit(share)
    slope = -share.log() - (1 - share).log() + math.log((1 - 2 * MARGIN) / LEVELS / SPREAD)
    return (y - CENTRE) / SPREAD, slope.flatten(1).sum(1)


def levels(y: Tensor) -> Tensor:
    """The images of `dequantized` numbers: real numbers from 0 to 256, shaped like y."""
    return (torch.sigmoid(y * SPREAD + CENTRE) - MARGIN) / (1 - 2 * MARGIN) * LEVELS


class ActNorm(nn.Module):
    """A scale and a shift for each channel. The first batch of training gets mean 0 and deviation 1, and sets both."""

    started: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.zeros(1, channels, 1, 1))  # its logarithm
        self.register_buffer("started", torch.tensor(False))

    def start(self, x: Tensor) -> None:
        """Set scale and shift by the batch x (batch, channels, height, width)."""
        with torch.no_grad():
            deviation, mean = torch.std_mean(x, dim=(0, 2, 3), keepdim=True)
            self.shift.copy_(-mean)
            self.scale.copy_(-(deviation + 1e-3).log())
            self.started.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of x (batch, channels, height, width), and the logarithm of the determinant, a scalar."""
        if self.training and not self.started:
            self.start(x)
        return (x + self.shift) * self.scale.exp(), self.scale.sum() * x.shape[2] * x.shape[3]

    def inverse(self, y: Tensor) -> Tensor:
        """The x whose image is y."""
        return y * (-self.scale).exp() - self.shift


class Mix(nn.Module):
    """An invertible 1 x 1 convolution: a matrix of the channels, as a permutation and two triangular factors."""

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation)
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.register_buffer("sign", upper.diagonal().sign())
        self.scale = nn.Parameter(upper.diagonal().abs().log())

    def matrix(self) -> Tensor:
        """The matrix, (channels, channels)."""
        lower = self.lower.tril(-1) + torch.diag(torch.ones_like(self.scale))
        return self.permutation @ lower @ (self.upper.triu(1) + torch.diag(self.sign * self.scale.exp()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of x (batch, channels, height, width), and the logarithm of the determinant, a scalar."""
        return nn.functional.conv2d(x, self.matrix()[:, :, None, None]), self.scale.sum() * x.shape[2] * x.shape[3]

    def inverse(self, y: Tensor) -> Tensor:
        """The x whose image is y."""
        return nn.functional.conv2d(y, torch.linalg.inv(self.matrix())[:, :, None, None])


def starting_at_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and biases of 0."""
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class ImageCoupling(nn.Module):
    """An affine coupling: one half of the channels stays, and says how the other half is scaled and shifted."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels // 2, hidden, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, kernel_size=1),
            nn.ReLU(),
            starting_at_zero(nn.Conv2d(hidden, channels, kernel_size=3, padding=1)),
        )

    def scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms of the scales, between -2 and 2, and the shifts, shaped like the half that stays."""
        scale, shift = self.layers(kept).chunk(2, dim=1)
        return 2 * torch.tanh(scale / 2), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of x (batch, channels, height, width), and the logarithm of the determinant, (batch,)."""
        kept, other = x.chunk(2, dim=1)
        scale, shift = self.scale_and_shift(kept)
        return torch.cat([kept, other * scale.exp() + shift], dim=1), scale.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """The x whose image is y."""
        kept, other = y.chunk(2, dim=1)
        scale, shift = self.scale_and_shift(kept)
        return torch.cat([kept, (other - shift) * (-scale).exp()], dim=1)


class Split(nn.Module):
    """Half of the channels leave the flow, as normal noise around a mean that the other half says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = starting_at_zero(nn.Conv2d(channels // 2, channels, kernel_size=3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The half that stays, the noise of the half that leaves, and the logarithm of the determinant, (batch,)."""
        kept, left = x.chunk(2, dim=1)
        scale, shift = self.layer(kept).chunk(2, dim=1)
        return kept, (left - shift) * scale.exp(), scale.flatten(1).sum(1)

    def inverse(self, kept: Tensor, noise: Tensor) -> Tensor:
        """The x with the half `kept` and the noise of the other half."""
        scale, shift = self.layer(kept).chunk(2, dim=1)
        return torch.cat([kept, noise * (-scale).exp() + shift], dim=1)


class Glow(nn.Module):
    """Glow: levels of a squeeze, several steps (ActNorm, 1 x 1 convolution, affine coupling), and a split.

    A squeeze puts 2 x 2 pixels into channels. The images of 14 x 14 pixels get a rim of normal noise, since squeezes
    halve their sides; the density of the rim is taken off (Chen et al., VFlow, 2020).

    Source: Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions (2018).
    """

    inner: Tensor

    def __init__(self, *, hidden: int = 32, steps: int = 4, scales: int = 3) -> None:
        super().__init__()
        self.steps: Any = nn.ModuleList()
        self.splits: Any = nn.ModuleList()
        channels, side = 1, SIDE + 2
        self.shapes = []
        for scale in range(scales):
            channels, side = channels * 4, side // 2
            parts = [
                part
                for _ in range(steps)
                for part in (ActNorm(channels), Mix(channels), ImageCoupling(channels, hidden))
            ]
            self.steps.append(nn.ModuleList(parts))
            if scale < scales - 1:
                self.splits.append(Split(channels))
                channels //= 2
            self.shapes.append((channels, side, side))
        self.register_buffer("inner", nn.functional.pad(torch.ones(1, 1, SIDE, SIDE), (1, 1, 1, 1)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """A lower bound of log P(x) in nats, (batch,), for images of levels x (batch, 1, 14, 14)."""
        y, change = dequantized(x)
        padded = nn.functional.pad(y, (1, 1, 1, 1))
        rim = torch.randn_like(padded) * (1 - self.inner)
        z, more = self.noise(padded + rim)
        rim_density = normal(rim) - normal(torch.zeros_like(rim[:1])) * SIDE**2 / (SIDE + 2) ** 2
        return normal(z) + change + more - rim_density

    def noise(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The noise (batch, 256) of numbers y (batch, 1, 16, 16), and the logarithm of the determinant, (batch,)."""
        change = y.new_zeros(len(y))
        parts = []
        for scale, steps in enumerate(self.steps):
            y = nn.functional.pixel_unshuffle(y, 2)
            for step in steps:
                y, one = step(y)
                change = change + one
            if scale < len(self.splits):
                y, left, one = self.splits[scale](y)
                change = change + one
                parts.append(left.flatten(1))
        return torch.cat([*parts, y.flatten(1)], dim=1), change

    def inverse(self, z: Tensor) -> Tensor:
        """Images (batch, 1, 14, 14), real numbers from 0 to 256, of noise z (batch, 256)."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = [part.unflatten(1, shape) for part, shape in zip(z.split(sizes, dim=1), self.shapes, strict=True)]
        y = parts[-1]
        for scale in reversed(range(len(self.steps))):
            if scale < len(self.splits):
                y = self.splits[scale].inverse(y, parts[scale])
            for step in reversed(self.steps[scale]):
                y = step.inverse(y)
            y = nn.functional.pixel_shuffle(y, 2)
        return levels(y[:, :, 1:-1, 1:-1])


class ImageField(nn.Module):
    """The field of an ODE of images: convolutions at 14 x 14 and 7 x 7 pixels, with the time as features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.time = nn.Sequential(nn.Linear(3, wide), nn.SiLU(), nn.Linear(wide, wide + wide))
        self.enter = nn.Conv2d(1, channels, kernel_size=3, padding=1)
        self.down = nn.Conv2d(channels, wide, kernel_size=4, stride=2, padding=1)
        self.middle1 = nn.Conv2d(wide, wide, kernel_size=3, padding=1)
        self.middle2 = nn.Conv2d(wide, wide, kernel_size=3, padding=1)
        self.up = nn.ConvTranspose2d(wide, channels, kernel_size=2, stride=2)
        self.merge = nn.Conv2d(2 * channels, channels, kernel_size=3, padding=1)
        self.leave = starting_at_zero(nn.Conv2d(channels + 1, 1, kernel_size=3, padding=1))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """t: (batch, 1) or (1, 1); x: (batch, 1, 14, 14). Returns dx/dt, shaped like x."""
        features = torch.cat([t, torch.sin(math.pi * t), torch.cos(math.pi * t)], dim=1)
        first, second = self.time(features)[:, :, None, None].chunk(2, dim=1)
        fine = nn.functional.silu(self.enter(x))
        coarse = nn.functional.silu(self.down(fine) + first)
        middle = nn.functional.silu(self.middle1(coarse) + second)
        coarse = coarse + nn.functional.silu(self.middle2(middle))
        merged = nn.functional.silu(self.merge(torch.cat([fine, self.up(coarse)], dim=1)))
        return self.leave(torch.cat([merged, x], dim=1))


class PixelFlow(nn.Module):
    """An ODE between images and noise, trained by flow matching, with the density of FFJORD.

    rtol, atol: the tolerances of the dopri5 solve over t in [0, 1], from images to noise.

    Sources: Lipman, Chen, Ben-Hamu, Nickel, Le, Flow Matching for Generative Modeling (2023); Grathwohl et al., FFJORD
    (2019).
    """

    times: Tensor

    def __init__(self, *, channels: int = 20, rtol: float = 1e-3, atol: float = 1e-3) -> None:
        super().__init__()
        self.layers = ImageField(channels)
        self.solver = {"method": "dopri5", "rtol": rtol, "atol": atol}
        self.register_buffer("times", torch.tensor([0.0, 1.0]), persistent=False)

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        """t: scalar; y: (batch, 1, 14, 14). Returns dy/dt, shaped like y."""
        return self.layers(t.reshape(1, 1), y)

    def forward(self, x: Tensor) -> Tensor:
        """An estimate, whose mean bounds log P(x) in nats from below, (batch,), for images x (batch, 1, 14, 14)."""
        y, change = dequantized(x)
        direction = torch.randn_like(y).sign()

        def both(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                y = state[0].requires_grad_(True)
                slope = self.field(t, y)
                (product,) = torch.autograd.grad(slope, y, direction, create_graph=True)
            return slope, (product * direction).flatten(1).sum(1)

        z, more = odeint(both, (y, y.new_zeros(len(y))), self.times, **self.solver)
        return normal(z[-1]) + change + more[-1]

    def inverse(self, z: Tensor) -> Tensor:
        """Images (batch, 1, 14, 14), real numbers from 0 to 256, of noise of the same shape."""
        return levels(odeint(self.field, z, self.times.flip(0), **self.solver)[-1])

    def matching_loss(self, x: Tensor) -> Tensor:
        """The mean squared difference of the field from the speed on straight lines between images and noise."""
        y, _ = dequantized(x)
        z, t = torch.randn_like(y), torch.rand(len(y), 1)
        way = t[:, :, None, None]
        return (self.layers(t, (1 - way) * y + way * z) - (z - y)).square().mean()
