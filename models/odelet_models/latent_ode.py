"""A latent ODE, which completes a series of few observations at irregular times.

Follows Chen et al., "Neural Ordinary Differential Equations" (2018), section 5, and Rubanova, Chen and Duvenaud,
"Latent ODEs for Irregularly-Sampled Time Series" (2019), on the CO2 at Mauna Loa: 12 weeks of two years are seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use

WEEK = 7 / 365.25
SCALE = 3.0
LATENT, WIDTH, CLOCK = 6, 32, 8
# Measured weeks scatter by this much around a smooth curve, in parts per million.
NOISE = 0.5


class Encoder(nn.Module):
    """Reads observations from the last one to the first, and returns the mean and log-deviation of a latent state."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(4, width, batch_first=True)
        self.head = nn.Linear(width, 2 * latent)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x, t: (batch, observations), in units of `SCALE` and in years. Returns two tensors (batch, latent)."""
        seen = ~x.isnan()
        gap = nn.functional.pad(t.diff(dim=1), (1, 0))
        frames = torch.stack([x.nan_to_num(0.0), seen.to(x.dtype), t, 10 * gap], 2)
        states, _ = self.gru(frames.flip(1))
        mean, log_deviation = self.head(states[:, -1]).chunk(2, 1)
        return mean, log_deviation


class LatentModel(nn.Module):
    """What the latent ODE and its twin have in common: an encoder, the mean of what was seen, and a decoder."""

    def __init__(self, *, latent: int = LATENT, width: int = WIDTH) -> None:
        super().__init__()
        self.encoder = Encoder(latent, width)
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.Tanh(), nn.Linear(width, 1))

    def path(self, z0: Tensor, times: Tensor) -> Tensor:
        """z0: (batch, latent); times: (times,). Returns the latent states, (times, batch, latent)."""
        raise NotImplementedError

    def posterior(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mean of what was seen (batch, 1), and the mean and log-deviation of the latent state (batch, latent)."""
        level = x.nanmean(1, keepdim=True)
        return level, *self.encoder((x - level) / SCALE, t)

    def decode(self, level: Tensor, z0: Tensor, times: Tensor) -> Tensor:
        """The series of a latent state, (batch, times)."""
        return level + SCALE * self.decoder(self.path(z0, times)).squeeze(2).T

    def forward(self, x: Tensor, t: Tensor, times: Tensor) -> Tensor:
        """The series at any times, (batch, times) in parts per million, of the mean of the latent state.

        x: (batch, observations), NaN where one is missing, and at least one of each row is there. t: (batch,
        observations), the years since the start of the window, in order. times: (times,), in years, in order, from 0.
        """
        level, mean, _ = self.posterior(x, t)
        return self.decode(level, mean, times)


class LatentODE(LatentModel):
    """A latent state at the start of the window that an ODE carries through it: dz/dt = f(z), t in years."""

    def __init__(self, *, latent: int = LATENT, width: int = WIDTH, rtol: float = 1e-3, atol: float = 1e-3) -> None:
        super().__init__(latent=latent, width=width)
        self.rtol, self.atol = rtol, atol
        self.field = nn.Sequential(
            nn.Linear(latent, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, latent)
        )

    def path(self, z0: Tensor, times: Tensor) -> Tensor:
        """z0: (batch, latent), the state a week before the window; times: (times,). Returns (times, batch, latent)."""
        start = times.new_full((1,), -WEEK)
        states = odeint(
            lambda t, z: self.field(z),
            z0,
            torch.cat([start, times]),
            rtol=self.rtol,
            atol=self.atol,
            method="dopri5",
        )
        return states[1:]


class LatentCurve(LatentModel):
    """The discrete twin of `LatentODE`: layers take the code of the window and the time, and return the state.

    The network is a neural process (Garnelo et al., 2018) with the encoder of the latent ODE. It gets the time as sines
    of learned frequencies, as in Shukla and Marlin, "Multi-Time Attention Networks" (2021).
    """

    def __init__(self, *, latent: int = LATENT, width: int = WIDTH) -> None:
        super().__init__(latent=latent, width=width)
        self.clock = nn.Linear(1, CLOCK)
        self.layers = nn.Sequential(
            nn.Linear(latent + 1 + CLOCK, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, latent),
        )

    def path(self, z0: Tensor, times: Tensor) -> Tensor:
        """As `LatentODE.path`."""
        codes = z0.expand(len(times), -1, -1)
        moments = times[:, None]
        clock = torch.cat([moments, torch.sin(2 * torch.pi * self.clock(moments))], 1)
        return self.layers(torch.cat([codes, clock[:, None].expand(-1, len(z0), -1)], 2))


def observed(weeks: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The arguments of a model for windows: what is seen of weeks (windows, 104), its times, and all times.

    Where none of the weeks that are seen was measured, the last one is the mean of the window.
    """
    x = weeks.gather(1, seen)
    empty = x.isnan().all(1)
    x[empty, -1] = weeks.nanmean(1)[empty]
    return x, seen * WEEK, torch.arange(weeks.shape[1]) * WEEK


def loss(model: LatentModel, weeks: Tensor, seen: Tensor) -> Tensor:
    """The bound on the negative log-likelihood of all weeks, per window and divided by 100.

    In each step of training other weeks are seen.
    """
    x, t, times = observed(weeks, datasets.some_weeks(len(weeks)))
    level, mean, log_deviation = model.posterior(x, t)
    series = model.decode(level, mean + log_deviation.exp() * torch.randn_like(mean), times)
    misfit = ((series - torch.where(weeks.isnan(), series, weeks)) / NOISE).square().sum(1) / 2
    surprise = ((mean.square() + (2 * log_deviation).exp() - 1) / 2 - log_deviation).sum(1)
    return (misfit + surprise).mean() / 100


def hidden_error(estimates: Tensor, weeks: Tensor, seen: Tensor) -> float:
    """The root mean square error at the weeks that are measured and not seen, in parts per million."""
    hidden = ~weeks.isnan()
    hidden.scatter_(1, seen, False)
    return (estimates - weeks)[hidden].double().square().mean().sqrt().item()


def score(call: Call, weeks: Tensor, seen: Tensor) -> float:
    """The error of a model at hidden weeks."""
    with torch.no_grad():
        return hidden_error(call(*observed(weeks, seen)), weeks, seen)


def straight(weeks: Tensor, seen: Tensor) -> Tensor:
    """Straight lines between the weeks that are seen, (windows, 104), level before the first one and after the last."""
    rows = []
    for row, shown in zip(weeks.numpy(), seen.numpy(), strict=True):
        known = shown[~np.isnan(row[shown])]
        rows.append(np.interp(np.arange(len(row)), known, row[known]))
    return torch.from_numpy(np.stack(rows)).to(weeks.dtype)


def interpolation(data: Data) -> float:
    """The error of straight lines at the hidden weeks of the test part."""
    return hidden_error(straight(*data.test), *data.test)


def example_inputs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """What is seen of windows of the training part, its times in years, and every fourth week to decode."""
    weeks, seen = datasets.carbon_dioxide().train
    rows = 100 + torch.arange(batch) % 300
    x, t, times = observed(weeks[rows], seen[rows])
    return x, t, times[::4]


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """A window with its weeks and the curves through it, and how the error depends on the number of weeks seen."""
    weeks, seen = data.test
    left, right = figure.subplots(1, 2)
    x, t, times = observed(weeks[DRAWN : DRAWN + 1], seen[DRAWN : DRAWN + 1])
    years = times.numpy()
    left.plot(years, weeks[DRAWN].numpy(), ".", color="0.75", label="hidden")
    left.plot(t[0].numpy(), x[0].numpy(), "ko", label="seen")
    left.plot(years, straight(weeks, seen)[DRAWN].numpy(), ":", color="0.4", label="straight lines")
    counts = (4, 6, 8, 12, 16, 24)
    choices = [datasets.some_weeks(len(weeks), count=n, generator=torch.Generator().manual_seed(n)) for n in counts]
    for (name, call), style in zip(calls.items(), STYLES, strict=False):
        label = name.rpartition("-")[0]
        left.plot(years, call(x, t, times)[0].detach().numpy(), style[:2] + style[3:], label=label)
        right.plot(counts, [score(call, weeks, choice) for choice in choices], style, label=label)
    errors = [hidden_error(straight(weeks, choice), weeks, choice) for choice in choices]
    right.plot(counts, errors, ".:", color="0.4", label="straight lines")
    left.set(xlabel="years", ylabel="CO2, ppm")
    right.set(xlabel="weeks seen of 104 (12 in training)", ylabel="error at hidden weeks, ppm", ylim=(0, None))
    left.legend(frameon=False, fontsize=7)
    right.legend(frameon=False, fontsize=8)


DRAWN = 7
STYLES = ("C0o-", "C1s--")
_COMPLETE = {
    "complete": Use(
        inputs=example_inputs,
        dynamic={
            "x": {0: "batch", 1: "observations"},
            "t": {0: "batch", 1: "observations"},
            "times": {0: "times"},
        },
    )
}
_TRAINING = {"epochs": 300, "batch_size": 72, "learning_rate": 1e-2, "clip": 1.0}
FAMILY = Family(
    title="latent ODE",
    about="A latent state that an ODE carries through time, found from a few observations and read at any times. "
    "It completes two years of CO2 from 12 weeks, as it knows the seasons that straight lines cut off.",
    source="Rubanova, Chen, Duvenaud, Latent ODEs for Irregularly-Sampled Time Series (2019)",
    data=datasets.carbon_dioxide,
    members={
        "latent_ode": Member(
            about="a latent state that an ODE carries to any time, dopri5 at 1e-3",
            build=LatentODE,
            loss=loss,
            uses=_COMPLETE,
            settings=_TRAINING,
        ),
        "latent_curve": Member(
            about="layers that take the time, behind the same encoder",
            build=LatentCurve,
            loss=loss,
            uses=_COMPLETE,
            discrete=True,
            settings={**_TRAINING, "epochs": 250},
        ),
    },
    metric="error at hidden weeks, ppm",
    higher=False,
    score=score,
    baseline=("straight lines between the weeks that are seen", interpolation),
    draw=draw,
)
