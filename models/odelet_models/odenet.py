"""ODENet: a small image classifier whose middle is an ordinary differential equation.

Follows the MNIST network of Chen et al., "Neural Ordinary Differential Equations" (2018), and of
torchdiffeq's `examples/odenet_mnist.py`, scaled to the 8 x 8 digits of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use, accuracy, majority, trained

SIDE = 8
PIXEL_MAX = 16.0
CLASSES = 10
LABEL_SMOOTHING = 0.05


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


def images_of(x: Tensor) -> Tensor:
    """Images (batch, 1, 8, 8) with ink from 0 to 1, of rows (batch, 64) from 0 to 16. Raises ValueError for rows of
    another shape."""
    if x.ndim != 2 or x.shape[1] != SIDE * SIDE:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, but this model takes (batch, {SIDE * SIDE}); "
            "flatten each 8 x 8 image into one row"
        )
    return (x / PIXEL_MAX).reshape(-1, 1, SIDE, SIDE)


def stem(channels: int) -> nn.Sequential:
    """The layers before the middle of a classifier: (batch, 1, 8, 8) to (batch, channels, 4, 4)."""
    return nn.Sequential(
        nn.Conv2d(1, channels, kernel_size=3, padding=1),
        nn.GroupNorm(4, channels),
        nn.GELU(),
        nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1),
    )


def head(channels: int) -> nn.Sequential:
    """The layers after the middle of a classifier: (batch, channels, 4, 4) to logits (batch, 10)."""
    return nn.Sequential(
        nn.GroupNorm(4, channels),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(channels * 4, CLASSES),
    )


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
        self.stem = stem(channels)
        self.field = ConvField(channels)
        self.head = head(channels)
        self.register_buffer("times", torch.tensor([0.0, 1.0]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of images, (batch, 10).

        x: (batch, 64) float32; each row is an 8 x 8 image in reading order, with ink from 0 to 16. Raises ValueError
        for another shape.
        """
        state = self.stem(images_of(x))
        trajectory = odeint(self.field, state, self.times, rtol=self.rtol, atol=self.atol, method="dopri5")
        return self.head(trajectory[-1])


class Block(nn.Module):
    """A residual block: x + the field of an ODE-Net without the time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.Softplus(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.GroupNorm(4, channels),
            nn.Softplus(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.GroupNorm(4, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width). Returns a tensor shaped like x."""
        return x + self.layers(x)


class ResNet(nn.Module):
    """The discrete twin of `ODENet`: residual blocks in the place of the solve, each with weights of its own.

    The network follows He et al., "Deep Residual Learning for Image Recognition" (2016), of which Chen et al. (2018)
    compare six blocks with an ODE.
    """

    def __init__(self, *, channels: int = 16, blocks: int = 6) -> None:
        super().__init__()
        self.stem = stem(channels)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.head = head(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (batch, 10) of images (batch, 64), as those of `ODENet`."""
        return self.head(self.blocks(self.stem(images_of(x))))


def digits() -> ODENet:
    """Build the untrained ODENet for 8 x 8 digits. Its weights depend on torch's random state."""
    return ODENet()


def digits_pretrained() -> ODENet:
    """Build the ODENet for 8 x 8 digits with its trained weights, in eval mode."""
    model = trained(digits, "odenet")
    assert isinstance(model, ODENet)
    return model


def example_inputs(batch: int) -> tuple[Tensor]:
    """Random images of the right shape and range: a tuple of one tensor, (batch, 64) float32, from 0 to 16."""
    return (torch.rand(batch, SIDE * SIDE, generator=torch.Generator().manual_seed(0)) * PIXEL_MAX,)


def shift(images: Tensor) -> Tensor:
    """The images, each moved by -1, 0 or 1 pixel along both axes, by chance; pixels that enter at the edges are empty.

    images: (batch, side * side). The result has the same shape.
    """
    batch, features = images.shape
    side = round(features**0.5)
    padded = nn.functional.pad(images.reshape(batch, side, side), (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (2, batch, 1))
    rows, columns = offsets + torch.arange(side)
    sample = torch.arange(batch)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].reshape(batch, features)


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of shifted images, with smoothed labels."""
    return nn.functional.cross_entropy(model(shift(images)), labels, label_smoothing=LABEL_SMOOTHING)


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """Held-out digits that a network gets wrong, or is least sure of, with its answers."""
    images, labels = data.test
    for row, (name, call) in enumerate(calls.items()):
        logits = call(images)
        chance = logits.softmax(1)[torch.arange(len(labels)), labels]
        for column, index in enumerate(chance.argsort()[:COLUMNS].tolist()):
            axes = figure.add_subplot(len(calls), COLUMNS, row * COLUMNS + column + 1)
            axes.imshow(images[index].reshape(SIDE, SIDE).numpy(), cmap="gray_r")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(f"{int(labels[index])}, read as {int(logits[index].argmax())}", fontsize=8)
            if column == 0:
                axes.set_ylabel(name.partition("-")[0])


COLUMNS = 8
_CLASSIFY = {"classify": Use(inputs=example_inputs, dynamic={"x": {0: "batch"}})}
FAMILY = Family(
    title="ODE-Net",
    about="An image classifier whose middle is an ODE in the place of residual blocks. It has the weights of one "
    "block, however many evaluations its solver needs.",
    source="Chen, Rubanova, Bettencourt, Duvenaud, Neural Ordinary Differential Equations (2018)",
    data=datasets.digits,
    members={
        "odenet": Member(about="one convolutional field, dopri5 at 1e-3", build=digits, loss=loss, uses=_CLASSIFY),
        "resnet": Member(about="six residual blocks", build=ResNet, loss=loss, uses=_CLASSIFY, discrete=True),
    },
    metric="accuracy",
    higher=True,
    score=accuracy,
    baseline=("the most frequent class", majority),
    draw=draw,
)
