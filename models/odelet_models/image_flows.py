"""Normalizing flows of images of digits: an ODE that is trained by flow matching, and Glow, its discrete twin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use
from odelet_models.flows_networks import Sampler
from odelet_models.image_flows_networks import LEVELS, SIDE, Glow, PixelFlow

PIXELS = SIDE * SIDE
# What is added to the counts of a histogram, so that no level has the probability 0.
PSEUDO_COUNT = 0.1
COLUMNS, ROWS = 18, 2
COOLNESS = 0.8


def matching_loss(flow: PixelFlow, images: Tensor, _labels: Tensor) -> Tensor:
    """The loss of flow matching; no solve takes part in training."""
    return flow.matching_loss(images)


def likelihood_loss(flow: Glow, images: Tensor, _labels: Tensor) -> Tensor:
    """The nats per pixel, at most."""
    return -flow(images).mean() / PIXELS


def nats(call: Call, images: Tensor, _labels: Tensor) -> float:
    """An upper bound of the mean of -log P(x) over images and pixels, in nats per pixel."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return -call(images).double().mean().item() / PIXELS


def histogram(data: Data) -> float:
    """The nats per pixel of the test images, where each pixel has the frequencies of its levels in training.

    >>> images = torch.zeros(4, 1, 14, 14)
    >>> data = Data(train=(images, torch.zeros(4)), test=(images, torch.zeros(4)))
    >>> round(histogram(data), 3)  # log((4 + 25.6) / 4.1)
    1.977
    """
    train, test = (part[0].flatten(1).long() for part in (data.train, data.test))
    cells = train + LEVELS * torch.arange(PIXELS)
    counts = cells.flatten().bincount(minlength=LEVELS * PIXELS).reshape(PIXELS, LEVELS) + PSEUDO_COUNT
    chance = counts.double() / (len(train) + LEVELS * PSEUDO_COUNT)
    return -chance.gather(1, test.T).log().mean().item()


def example_images(batch: int) -> tuple[Tensor]:
    """Images with noise between two dark stripes: a tuple of one tensor, (batch, 1, 14, 14) float32, from 0 to 255."""
    x = torch.randint(0, LEVELS, (batch, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0)).float()
    x[:, :, :4] = x[:, :, -4:] = 0.0
    return (x,)


def noise(*shape: int) -> tuple[Tensor]:
    """Normal numbers: a tuple of one tensor, float32."""
    return (torch.randn(shape, generator=torch.Generator().manual_seed(1)),)


def mosaic(images: Tensor) -> Tensor:
    """Images (ROWS * COLUMNS, 1, 14, 14) beside and below each other, with levels from 0 to 255."""
    tiles = images.clamp(0, LEVELS - 1).reshape(ROWS, COLUMNS, SIDE, SIDE)
    return tiles.transpose(1, 2).reshape(ROWS * SIDE, COLUMNS * SIDE)


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """Held-out digits, and samples of each flow, whose noise is a little weaker than in training."""
    count = ROWS * COLUMNS
    shown = {"held out": data.test[0][:count]}
    for name, member in FAMILY.members.items():
        if f"{name}-sample" in calls:
            (z,) = member.uses["sample"].inputs(count)
            shown[name] = calls[f"{name}-sample"](COOLNESS * z)
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (name, images) in zip(panels, shown.items(), strict=True):
        axes.imshow(mosaic(images).numpy(), cmap="gray_r", vmin=0, vmax=LEVELS - 1)
        axes.set_ylabel(name, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])


_X, _Z = {"x": {0: "batch"}}, {"z": {0: "batch"}}
FAMILY = Family(
    title="Flows of images",
    about="Normalizing flows of images give the probability of an image, and samples. Glow is a chain of invertible "
    "layers; its continuous twin is an ODE whose field is trained without a single solve.",
    source="Kingma and Dhariwal, Glow (2018); Lipman et al., Flow Matching for Generative Modeling (2023)",
    data=datasets.images,
    members={
        "pixel_flow": Member(
            about="an ODE trained by flow matching, with Hutchinson's trace, dopri5 at 1e-3",
            build=PixelFlow,
            loss=matching_loss,
            uses={
                "density": Use(inputs=example_images, dynamic=_X),
                "sample": Use(inputs=lambda batch: noise(batch, 1, SIDE, SIDE), dynamic=_Z, module=Sampler),
            },
            settings={"epochs": 16, "learning_rate": 5e-3, "clip": 1.0},
        ),
        "glow": Member(
            about="twelve steps of Glow at three scales",
            build=Glow,
            loss=likelihood_loss,
            uses={
                "density": Use(inputs=example_images, dynamic=_X),
                "sample": Use(inputs=lambda batch: noise(batch, (SIDE + 2) ** 2), dynamic=_Z, module=Sampler),
            },
            discrete=True,
            settings={"epochs": 20, "learning_rate": 5e-3, "clip": 1.0},
        ),
    },
    metric="nats per pixel",
    higher=False,
    score=nats,
    baseline=("a histogram of each pixel", histogram),
    draw=draw,
)
