"""A neural controlled differential equation, which reads series with missing values and of unequal lengths.

Follows Kidger, Morrill, Foster and Lyons, "Neural Controlled Differential Equations for Irregular Time Series" (2020),
with `torchcde`, on the Japanese vowels: who of nine speakers said it?
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torchcde
from torch import Tensor, nn

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use, accuracy, majority

CHANNELS = 13
CLASSES = 9


class MatrixField(nn.Module):
    """The field f of dz = f(z) dX: a matrix (state, channels) for each state, with entries from -1 to 1."""

    def __init__(self, state: int, channels: int, width: int) -> None:
        super().__init__()
        self.shape = (state, channels)
        self.layers = nn.Sequential(nn.Linear(state, width), nn.SiLU(), nn.Linear(width, state * channels), nn.Tanh())

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        """t: scalar, not used; z: (batch, state). Returns (batch, state, channels)."""
        return self.layers(z).unflatten(1, self.shape)


class NeuralCDE(nn.Module):
    """A classifier of series: dz = f(z) dX along a smooth path X through the values that are there.

    The path is a cubic Hermite spline. It bridges missing values in each channel. It comes to rest in the frame after a
    series' last one, and so does the state: a series' class does not depend on how far it is padded.
    """

    def __init__(self, *, channels: int = CHANNELS, state: int = 16, width: int = 32, classes: int = CLASSES) -> None:
        super().__init__()
        self.start = nn.Linear(channels, state)
        self.field = MatrixField(state, channels, width)
        self.head = nn.Linear(state, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of series, (batch, classes).

        x: (batch, length, channels), a frame for each unit of time, with the time as the first channel; NaN where a
        value is missing, and in all channels after the last frame.
        """
        x = nn.functional.pad(x, (0, 0, 0, 1), value=torch.nan)  # The frame in which the longest series comes to rest.
        path = torchcde.CubicSpline(torchcde.hermite_cubic_coefficients_with_backward_differences(x))
        z0 = self.start(path.evaluate(path.interval[0]))
        z = torchcde.cdeint(
            path, self.field, z0, path.interval, adjoint=False, method="rk4", options={"step_size": 1.0}
        )
        return self.head(z[:, -1])


class RecurrentClassifier(nn.Module):
    """The discrete twin of `NeuralCDE`: a GRU that reads the last known value of each channel, and what is missing."""

    def __init__(self, *, channels: int = CHANNELS, state: int = 32, classes: int = CLASSES) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * channels, state, batch_first=True)
        self.head = nn.Linear(state, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (batch, classes) of series (batch, length, channels), as those of `NeuralCDE`."""
        seen = ~x.isnan()
        known = torchcde.misc.forward_fill(x).nan_to_num(0.0)
        states, _ = self.gru(torch.cat([known, seen.to(x.dtype)], 2))
        last = seen[:, :, 0].sum(1) - 1
        return self.head(states[torch.arange(len(x)), last])


def example_inputs(batch: int) -> tuple[Tensor]:
    """Utterances from the training data, 20 frames of each: a tuple of one tensor, (batch, 20, 13) float32."""
    series = datasets.vowels().train[0]
    return (series[torch.arange(batch) % len(series), :20],)


def loss(model: nn.Module, series: Tensor, speakers: Tensor) -> Tensor:
    """The cross-entropy of series in which some more values are missing, others in each step."""
    hidden = torch.rand_like(series) < HIDDEN
    hidden[:, :, 0] = False
    return nn.functional.cross_entropy(model(series.masked_fill(hidden, torch.nan)), speakers)


def hidden(series: Tensor, share: float) -> Tensor:
    """The series with NaN in place of a further share of the coefficients, by chance and always the same ones."""
    chance = torch.rand(series.shape, generator=torch.Generator().manual_seed(0))
    chance[:, :, 0] = 1.0
    return series.masked_fill(chance < share, torch.nan)


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """An utterance with what is missing, and how the accuracy depends on what is heard and on what is missing."""
    series, speakers = data.test
    left, middle, right = figure.subplots(1, 3)
    utterance = series[(~series[:, :, 0].isnan()).sum(1) == SHOWN][0, :SHOWN, 1:]
    left.imshow(utterance.T.numpy(), cmap="viridis", aspect="auto", interpolation="nearest")
    left.set_facecolor("0.85")
    left.set(xlabel="frame", ylabel="coefficient", title="an utterance; grey is missing")
    heard = range(2, series.shape[1] + 1, 3)
    shares = torch.linspace(0.0, 0.9, 7).tolist()
    for (name, call), style in zip(calls.items(), STYLES, strict=False):
        label = name.rpartition("-")[0]
        middle.plot(heard, [accuracy(call, series[:, :length], speakers) for length in heard], style, label=label)
        rates = [accuracy(call, hidden(series, share), speakers) for share in shares]
        right.plot([1 - (1 - datasets.VOWEL_MISSING) * (1 - share) for share in shares], rates, style, label=label)
    middle.set(xlabel="frames heard", ylabel="accuracy", ylim=(0, 1))
    right.set(xlabel="share of coefficients missing", ylim=(0, 1))
    right.legend(frameon=False)
    for axes in (left, middle, right):
        axes.title.set_fontsize(9)


HIDDEN = 0.1
SHOWN = 20
STYLES = ("C0o-", "C1s--")
_CLASSIFY = {"classify": Use(inputs=example_inputs, dynamic={"x": {0: "batch", 1: "length"}})}
FAMILY = Family(
    title="neural CDE",
    about="A classifier of irregular series: a spline through the values that are there drives a state, in any time of "
    "each channel's own. Series of any length with missing values need no filling, and one artifact takes them all.",
    source="Kidger, Morrill, Foster, Lyons, Neural Controlled Differential Equations for Irregular Time Series (2020)",
    data=datasets.vowels,
    members={
        "neural_cde": Member(
            about="a state that is driven by a spline through the series, rk4 with a step for each frame",
            build=NeuralCDE,
            loss=loss,
            uses=_CLASSIFY,
            settings={"epochs": 60, "batch_size": 45, "learning_rate": 2e-2, "clip": 1.0, "weight_decay": 1e-2},
        ),
        "vowel_gru": Member(
            about="a GRU on the same frames",
            build=RecurrentClassifier,
            loss=loss,
            uses=_CLASSIFY,
            discrete=True,
            settings={"epochs": 60, "batch_size": 45, "learning_rate": 2e-2, "clip": 1.0, "weight_decay": 1e-2},
        ),
    },
    metric="accuracy",
    higher=True,
    score=accuracy,
    baseline=("the most frequent speaker", majority),
    draw=draw,
)
