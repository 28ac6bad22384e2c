"""Nested rings: what the flow of a neural ODE cannot separate cheaply, and an augmented one can.

Follows Dupont, Doucet and Teh, "Augmented Neural ODEs" (2019). Paths of an ODE do not cross, so the flow of a field in
the plane cannot bring a disc out of the ring around it: it can only tear the ring open at a thin gap, with a field that
is steep there and takes many calls. In more dimensions the disc moves out of the plane of the ring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models.family import Call, Data, Family, Member, Use, accuracy, majority

SAMPLES = 1500
TEST = 500
# The radii between which the points of each class lie.
RADII = ((0.0, 0.5), (1.0, 1.5))
TOLERANCE = 1e-4
LABEL_SMOOTHING = 0.1
COLOURS = ("#0072B2", "#E69F00")


def rings() -> Data:
    """Points in the plane (samples, 2), in a disc (class 0) or in a ring around it (class 1).

    There are 1000 points to train with, and 500 to test with. Points are spread evenly over the angles and over the
    radii of their class. They are rounded, so that they are equal on all processors.

    >>> rings().rows
    (1000, 500)
    """
    random = np.random.default_rng(0)
    labels = np.arange(SAMPLES) % len(RADII)
    radius = random.uniform(*np.array(RADII)[labels].T)
    angle = random.uniform(0, 2 * np.pi, SAMPLES)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).round(4)
    x, y = torch.tensor(points, dtype=torch.float32), torch.tensor(labels)
    return Data(train=(x[TEST:], y[TEST:]), test=(x[:TEST], y[:TEST]))


class Field(nn.Module):
    """The field f of dh/dt = f(t, h): a smooth network of two hidden layers."""

    def __init__(self, dimensions: int, hidden: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dimensions + 1, hidden),
            nn.Softplus(),
            nn.Linear(hidden, hidden),
            nn.Softplus(),
            nn.Linear(hidden, dimensions),
        )

    def forward(self, t: Tensor, h: Tensor) -> Tensor:
        """t: scalar; h: (batch, dimensions). Returns dh/dt, shaped like h."""
        return self.layers(torch.cat([h, t.expand(h.shape[0], 1)], dim=1))


class NODE(nn.Module):
    """A neural ODE over t in [0, 1] (no unit), and a plane that divides its final states.

    extra: the number of dimensions that are added to the two of the points, and are 0 at first; 0 makes it the plain
    neural ODE, any other number an augmented one. tolerance: of the dopri5 solve, relative and absolute.
    """

    span: Tensor

    def __init__(self, *, extra: int = 0, tolerance: float = TOLERANCE) -> None:
        super().__init__()
        self.extra = extra
        self.tolerance = tolerance
        self.field = Field(2 + extra)
        self.head = nn.Linear(2 + extra, len(RADII))
        self.register_buffer("span", torch.tensor([0.0, 1.0]), persistent=False)

    def states(self, x: Tensor, times: Tensor) -> Tensor:
        """x: (batch, 2); times: (count,), the first of which is 0. Returns (count, batch, 2 + extra)."""
        h = nn.functional.pad(x, (0, self.extra))
        return odeint(self.field, h, times, rtol=self.tolerance, atol=self.tolerance, method="dopri5")

    def forward(self, x: Tensor) -> Tensor:
        """The logits (batch, 2) of points (batch, 2)."""
        return self.head(self.states(x, self.span)[-1])


def anode() -> NODE:
    """Build the untrained augmented neural ODE: one dimension more than the plane has."""
    return NODE(extra=1)


class ResNet(nn.Module):
    """The discrete twin: residual blocks in the plane, whose steps may cross each other."""

    def __init__(self, *, blocks: int = 5, hidden: int = 32) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(2, hidden), nn.Softplus(), nn.Linear(hidden, 2)) for _ in range(blocks)
        )
        self.head = nn.Linear(2, len(RADII))

    def forward(self, x: Tensor) -> Tensor:
        """The logits (batch, 2) of points (batch, 2)."""
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Flow(nn.Module):
    """The states of a neural ODE at times that the caller chooses."""

    def __init__(self, node: NODE) -> None:
        super().__init__()
        self.node = node

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """x: (batch, 2); times: (count,), from 0 on. Returns the states, (count, batch, dimensions)."""
        return self.node.states(x, times)


class Layers(nn.Module):
    """The states of the residual network, at first and after each block."""

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.resnet = resnet

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 2). Returns the states, (blocks + 1, batch, 2)."""
        states = [x]
        for block in self.resnet.blocks:
            states.append(states[-1] + block(states[-1]))
        return torch.stack(states)


def loss(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of the logits. Labels are smoothed, so that states need not go far to be told apart."""
    return nn.functional.cross_entropy(model(x), labels, label_smoothing=LABEL_SMOOTHING)


def points(batch: int) -> tuple[Tensor]:
    """Points (batch, 2), spread over the square that holds the rings."""
    return (torch.rand(batch, 2, generator=torch.Generator().manual_seed(0)) * 3 - 1.5,)


def points_and_times(batch: int) -> tuple[Tensor, Tensor]:
    """Points (batch, 2), and five times from 0 to 1."""
    return (*points(batch), torch.linspace(0.0, 1.0, 5))


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """The paths of held-out points through each network, from the circles on, as far as they stay near the rings."""
    x, labels = (tensor[:DRAWN] for tensor in data.test)
    times = torch.linspace(0.0, 1.0, 201)
    paths = {
        "NODE, in the plane": calls["rings_node-flow"](x, times),
        "ANODE, one dimension more": calls["rings_anode-flow"](x, times),
        "ResNet, five blocks": calls["rings_resnet-layers"](x),
    }
    for column, (title, path) in enumerate(paths.items()):
        solid = path.shape[-1] == 3
        axes = figure.add_subplot(1, len(paths), column + 1, **({"projection": "3d"} if solid else {}))
        left = (path.abs() > WINDOW).any(dim=2).cumsum(0) > 0
        shown = path.masked_fill(left[:, :, None], torch.nan)
        for number, colour in enumerate(COLOURS):
            chosen = shown[:, labels == number].permute(2, 1, 0).numpy()
            for line in range(chosen.shape[1]):
                axes.plot(*chosen[:, line], color=colour, linewidth=0.6, alpha=0.6)
            axes.plot(*chosen[:, :, 0], "o", color=colour, markersize=3)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        for name, number in zip("xyz", range(path.shape[-1]), strict=False):
            getattr(axes, f"set_{name}label")(f"$h_{number + 1}$", labelpad=0)
        if solid:
            axes.set_box_aspect(None, zoom=0.8)  # The label of its third axis would lie on the next picture.
        limits = (-WINDOW, WINDOW)
        axes.set(xlim=limits, ylim=limits, **({"zlim": limits} if solid else {"aspect": "equal"}))


DRAWN = 150
WINDOW = 3.0
_BATCH = {"x": {0: "batch"}}
_CLASSIFY = Use(inputs=points, dynamic=_BATCH)
_FLOW = Use(module=Flow, inputs=points_and_times, dynamic={**_BATCH, "times": {0: "count"}})
_TRAINING = {"epochs": 200, "batch_size": 100}
FAMILY = Family(
    title="ANODE",
    about="A neural ODE with a dimension more than its data, here points in a disc and in a ring around it. A flow in "
    "the plane tears the ring open, with many calls of its field; where the disc can leave the plane, few suffice.",
    source="Dupont, Doucet, Teh, Augmented Neural ODEs (2019)",
    data=rings,
    members={
        "rings_anode": Member(
            about="a field in three dimensions, one of which is added",
            build=anode,
            loss=loss,
            uses={"classify": _CLASSIFY, "flow": _FLOW},
            settings=_TRAINING,
        ),
        "rings_node": Member(
            about="a field in the plane of the points",
            build=NODE,
            loss=loss,
            uses={"classify": _CLASSIFY, "flow": _FLOW},
            settings=_TRAINING,
        ),
        "rings_resnet": Member(
            about="five residual blocks in the plane",
            build=ResNet,
            loss=loss,
            uses={"classify": _CLASSIFY, "layers": Use(module=Layers, inputs=points, dynamic=_BATCH)},
            discrete=True,
            settings=_TRAINING,
        ),
    },
    metric="accuracy",
    higher=True,
    score=accuracy,
    baseline=("the most frequent class", majority),
    draw=draw,
)
