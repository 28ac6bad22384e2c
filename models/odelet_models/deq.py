"""Deep equilibrium models: a classifier whose middle is the fixed point of one layer, in the place of many layers.

Follows Bai, Kolter and Koltun, "Deep Equilibrium Models" (2019). The gradient of training is that of one more call of
the layer at the fixed point (Fung et al., "JFB: Jacobian-Free Backpropagation for Implicit Networks", 2022), and the
Jacobian is held small, so that fixed points are found in few calls (Bai et al., "Stabilizing Equilibrium Models by
Jacobian Regularization", 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from odelet_export import mark
from odelet_models import datasets, odenet
from odelet_models.family import Call, Data, Family, Member, Use, accuracy, majority

CHANNELS = 16
LAYERS = 12
DEPTH = 30
# The weight of the Jacobian's size in the loss.
JACOBIAN = 0.6
RTOL, ATOL = 1e-3, 1e-4


class Layer(nn.Module):
    """The layer z -> f(z, u) whose fixed point is sought: two convolutions of the state, and the image added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(2 * channels, channels, kernel_size=3, padding=1)
        self.norm = nn.GroupNorm(4, channels)

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """z: the state; u: what the stem makes of the image; both (batch, channels, 4, 4). Returns f(z, u)."""
        return torch.tanh(self.norm(u + self.conv2(nn.functional.relu(self.conv1(z)))))


class DEQ(nn.Module):
    """A classifier of images: a convolutional stem, the fixed point of a layer, and a linear head.

    The fixed point is found by Anderson's acceleration, for each sample on its own.
    """

    def __init__(self, *, channels: int = CHANNELS, rtol: float = RTOL, atol: float = ATOL) -> None:
        super().__init__()
        self.rtol = rtol
        self.atol = atol
        self.stem = odenet.stem(channels)
        self.layer = Layer(channels)
        self.head = odenet.head(channels)

    def equilibrium(self, u: Tensor) -> Tensor:
        """The state that the layer no longer changes, shaped like u, which is what the stem makes of images."""
        return mark(
            lambda z: self.layer(z, u),
            torch.zeros_like(u),
            method="anderson",
            rtol=self.rtol,
            atol=self.atol,
            max_iters=60,
            per_sample=True,
        )

    def forward(self, x: Tensor) -> Tensor:
        """The logits (batch, 10) of images (batch, 64), with ink from 0 to 16."""
        return self.head(self.equilibrium(self.stem(odenet.images_of(x))))


class WeightTied(nn.Module):
    """The discrete twin: twelve layers with the same weights, each of which goes on from the state of the last."""

    def __init__(self, *, channels: int = CHANNELS, layers: int = LAYERS) -> None:
        super().__init__()
        self.layers = layers
        self.stem = odenet.stem(channels)
        self.layer = Layer(channels)
        self.head = odenet.head(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (batch, 10) of images (batch, 64), with ink from 0 to 16."""
        u = self.stem(odenet.images_of(x))
        z = torch.zeros_like(u)
        for _ in range(self.layers):
            z = self.layer(z, u)
        return self.head(z)


class States(nn.Module):
    """The states of an image, layer by layer, as deep as `DEPTH`."""

    def __init__(self, network: DEQ | WeightTied) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 64). Returns the states after each call of the layer, (DEPTH, batch, channels, 4, 4)."""
        u = self.network.stem(odenet.images_of(x))
        states = [self.network.layer(torch.zeros_like(u), u)]
        while len(states) < DEPTH:
            states.append(self.network.layer(states[-1], u))
        return torch.stack(states)


class Equilibrium(nn.Module):
    """The equilibrium of an image, in the place of its class."""

    def __init__(self, network: DEQ) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 64). Returns (batch, channels, 4, 4)."""
        return self.network.equilibrium(self.network.stem(odenet.images_of(x)))


def jacobian_free_loss(model: DEQ, images: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of one more call of the layer at the fixed point, and the size of the layer's Jacobian there.

    The size is the squared Frobenius norm for each number of the state, estimated with one random vector (Hutchinson).
    """
    u = model.stem(odenet.images_of(odenet.shift(images)))
    with torch.no_grad():
        z = model.equilibrium(u)
    z.requires_grad_()
    settled = model.layer(z, u)
    (pulled,) = torch.autograd.grad(settled, z, torch.randn_like(settled), create_graph=True)
    cost = nn.functional.cross_entropy(model.head(settled), labels, label_smoothing=odenet.LABEL_SMOOTHING)
    return cost + JACOBIAN * pulled.square().mean()


def some_digits(batch: int) -> tuple[Tensor]:
    """Held-out digits, (batch, 64), with ink from 0 to 16."""
    images = datasets.digits().test[0]
    return (images[torch.arange(batch) % len(images)],)


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """How the states of held-out digits settle, layer by layer, and where their equilibria lie."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    images, labels = data.test
    settling, plane = figure.subplots(1, 2)
    equilibrium = calls["deq-equilibrium"](images)
    for name, title, colour in (("deq", "DEQ", "#0072B2"), ("weight_tied", "weight-tied twin", "#D55E00")):
        states = calls[f"{name}-states"](images).flatten(2)
        change = (states[1:] - states[:-1]).norm(dim=2) / states[1:].norm(dim=2)
        low, middle, high = change.quantile(torch.tensor([0.1, 0.5, 0.9]), dim=1)
        depth = torch.arange(2, DEPTH + 1)
        settling.fill_between(depth, low, high, color=colour, alpha=0.2, linewidth=0)
        settling.plot(depth, middle, color=colour, label=title)
    settling.axvline(LAYERS, color="gray", linewidth=0.8, linestyle=":", label="depth of the twin")
    settling.axhline(RTOL, color="black", linewidth=0.8, linestyle="--", label="tolerance of the DEQ")
    settling.set_yscale("log")
    settling.set_xlabel("layer")
    settling.set_ylabel("relative change of the state")
    settling.legend(fontsize=7)
    places = LinearDiscriminantAnalysis(n_components=2).fit_transform(equilibrium.flatten(1).numpy(), labels.numpy())
    for (x, y), label in zip(places, labels.tolist(), strict=True):
        plane.text(x, y, str(label), color=f"C{label}", fontsize=6, ha="center", va="center")
    plane.set_xlim(places[:, 0].min() - 1, places[:, 0].max() + 1)
    plane.set_ylim(places[:, 1].min() - 1, places[:, 1].max() + 1)
    plane.set_title("equilibria of held-out digits", fontsize=9)
    plane.set_xlabel("discriminant 1")
    plane.set_ylabel("discriminant 2")


_CLASSIFY = Use(inputs=some_digits, dynamic={"x": {0: "batch"}})
_STATES = replace(_CLASSIFY, module=States, settings={"form": "plain"})
FAMILY = Family(
    title="Deep equilibrium model",
    about="A classifier that calls one layer until its state no longer changes, as often as each image needs. It has "
    "the weights of one layer, however deep it is.",
    source="Bai, Kolter, Koltun, Deep Equilibrium Models (2019)",
    data=datasets.digits,
    members={
        "deq": Member(
            about="one layer at its fixed point, by Anderson's acceleration",
            build=DEQ,
            loss=jacobian_free_loss,
            uses={
                "classify": _CLASSIFY,
                "turns": replace(_CLASSIFY, settings={"form": "loop_free"}),
                "equilibrium": replace(_CLASSIFY, module=Equilibrium),
                "states": _STATES,
            },
            settings={"epochs": 30},
        ),
        "weight_tied": Member(
            about="twelve layers with the same weights",
            build=WeightTied,
            loss=odenet.loss,
            uses={"classify": _CLASSIFY, "states": _STATES},
            discrete=True,
            settings={"epochs": 30},
        ),
    },
    metric="accuracy",
    higher=True,
    score=accuracy,
    baseline=("the most frequent class", majority),
    draw=draw,
)
