"""ODENet: a small image classifier whose middle is an ordinary differential equation.

Follows the MNIST network of Chen et al., "Neural Ordinary Differential Equations" (2018), and of
torchdiffeq's `examples/odenet_mnist.py`, scaled to the 8 x 8 digits of scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

SIDE = 8
PIXEL_MAX = 16.0
CLASSES = 10
PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained" / "odenet-digits.safetensors"


class ConcatConv2d(nn.Module):
    """A 3 x 3 convolution with the time as one more input channel, which is constant."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels + 1, channels, kernel_size=3, padding=1)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """t: scalar; x: (batch, channels, height, width). Returns a tensor shaped like x."""
        time = torch.ones_like(x[:, :1]) * t
        return self.conv(torch.cat([time, x], dim=1))


class ConvField(nn.Module):
    """The field f of dx/dt = f(t, x): two convolutions that see the time, with normalisation and smooth activations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(4, channels)
        self.conv1 = ConcatConv2d(channels)
        self.norm2 = nn.GroupNorm(4, channels)
        self.conv2 = ConcatConv2d(channels)
        self.norm3 = nn.GroupNorm(4, channels)
        self.activation = nn.Softplus()

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """t: scalar; x: (batch, channels, height, width). Returns dx/dt, shaped like x."""
        x = self.conv1(t, self.activation(self.norm1(x)))
        x = self.conv2(t, self.activation(self.norm2(x)))
        return self.norm3(x)


class ODENet(nn.Module):
    """An image classifier: a convolutional stem, an ODE solved over t in [0, 1] (no unit), and a linear head.

    channels: the width of the state, a multiple of 4. rtol, atol: the tolerances of the dopri5 solve. Raises ValueError
    for channels that do not divide into the groups of the normalisation.
    """

    def __init__(self, *, channels: int = 16, rtol: float = 1e-3, atol: float = 1e-3) -> None:
        super().__init__()
        if channels < 4 or channels % 4:
            raise ValueError(
                f"channels={channels!r} does not divide into the 4 groups of the normalisation; "
                "pass a positive multiple of 4, such as 16"
            )
        self.rtol = rtol
        self.atol = atol
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, kernel_size=3, padding=1),
            nn.GroupNorm(4, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1),
        )
        self.field = ConvField(channels)
        self.head = nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.GELU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(channels * 4, CLASSES),
        )
        self.register_buffer("times", torch.tensor([0.0, 1.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of images, (batch, 10).

        x: (batch, 64) float32; each row is an 8 x 8 image in reading order, with ink from 0 to 16. Raises ValueError
        for another shape.
        """
        if x.ndim != 2 or x.shape[1] != SIDE * SIDE:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, but this model takes (batch, {SIDE * SIDE}); "
                "flatten each 8 x 8 image into one row"
            )
        image = (x / PIXEL_MAX).reshape(-1, 1, SIDE, SIDE)
        state = self.stem(image)
        trajectory = odeint(self.field, state, self.times, rtol=self.rtol, atol=self.atol, method="dopri5")
        return self.head(trajectory[-1])


def digits() -> ODENet:
    """Build the untrained ODENet for 8 x 8 digits. Its weights depend on torch's random state."""
    return ODENet()


def digits_pretrained() -> ODENet:
    """Build the ODENet for 8 x 8 digits with the trained weights of this repository, in eval mode.

    Raises FileNotFoundError when the weights are absent: they lie in models/pretrained/ of a clone
    and are not part of an installed wheel.
    """
    from safetensors.torch import load_file  # No other function needs safetensors.

    if not PRETRAINED.is_file():
        raise FileNotFoundError(
            f"the trained weights {PRETRAINED.name} are not in {PRETRAINED.parent}; use a clone of the "
            "repository, or train them with `odelet train odenet-digits -o models/pretrained`"
        )
    model = digits()
    model.load_state_dict(load_file(PRETRAINED))
    return model.eval()


def example_inputs(batch: int, *, seed: int = 0) -> tuple[Tensor]:
    """Random inputs of the right shape and range: a tuple of one tensor, (batch, 64) float32, from 0 to 16."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, SIDE * SIDE, generator=generator) * PIXEL_MAX,)
