"""A latent SDE, which forecasts a glucose monitor: not one course of the next two hours, but as many as are asked for.

Follows Li, Wong, Chen and Duvenaud, "Scalable Gradients for Stochastic Differential Equations" (2020): a latent state
with a learned drift and diffusion, and a decoder. It is fitted by the score of its forecasts, the CRPS of Gneiting and
Raftery (2007), and not by a bound on a likelihood, as there is a forecast to fit and no posterior to infer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torchsde
from torch import Tensor, nn

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use

MEAN, SCALE = 140.0, 50.0
LATENT, WIDTH = 8, 32
# Readings ahead, 5 minutes apart.
AHEAD = 24
# Forecasts of each window: to fit, and to score.
FITTED, SCORED = 8, 50


class LatentForecast(nn.Module):
    """What the latent SDE and its twin have in common: an encoder of the readings, and a decoder of latent states."""

    def __init__(self, *, latent: int = LATENT, width: int = WIDTH) -> None:
        super().__init__()
        self.gru = nn.GRU(2, width, batch_first=True)
        self.start = nn.Linear(width, latent)
        self.decoder = nn.Linear(latent, 1, bias=False)

    def path(self, z0: Tensor) -> Tensor:
        """z0: (batch, latent). Returns the latent states at the 24 readings ahead, a path each: (24, batch, latent)."""
        raise NotImplementedError

    def forward(self, history: Tensor) -> Tensor:
        """One forecast of the next two hours, (batch, 24) in mg/dL; each call draws another one.

        history: (batch, readings), mg/dL, the readings until now, 5 minutes apart.
        """
        values = (history - MEAN) / SCALE
        changes = nn.functional.pad(values.diff(dim=1), (1, 0))
        states, _ = self.gru(torch.stack([values, 5 * changes], 2))
        z0 = self.start(states[:, -1])
        moved = self.decoder(self.path(z0) - z0).squeeze(2).T
        return history[:, -1:] + SCALE * moved


class LatentSDE(LatentForecast):
    """dz = f(z) dt + g(z) dW in the sense of Ito, a noise for each element of z; the unit of time is 5 minutes."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, *, latent: int = LATENT, width: int = WIDTH) -> None:
        super().__init__(latent=latent, width=width)
        self.drift = nn.Sequential(nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, latent), nn.Tanh())
        self.diffusion = nn.Sequential(nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, latent), nn.Sigmoid())
        self.register_buffer("times", torch.arange(AHEAD + 1.0), persistent=False)

    def f(self, t: Tensor, z: Tensor) -> Tensor:
        """t: scalar, not used; z: (batch, latent). Returns the drift, shaped like z."""
        return self.drift(z) / 2

    def g(self, t: Tensor, z: Tensor) -> Tensor:
        """As `f`. Returns the diffusion, from 0 to 1/2."""
        return self.diffusion(z) / 2

    def path(self, z0: Tensor) -> Tensor:
        """As `LatentForecast.path`, by the method of Euler and Maruyama with a step for each reading."""
        return torchsde.sdeint(self, z0, self.times, dt=1.0, method="euler")[1:]


class LatentChain(LatentForecast):
    """The discrete twin of `LatentSDE`: a Markov chain whose layers take the state and the noise of a step."""

    def __init__(self, *, latent: int = LATENT, width: int = WIDTH) -> None:
        super().__init__(latent=latent, width=width)
        self.layers = nn.Sequential(nn.Linear(2 * latent, width), nn.SiLU(), nn.Linear(width, latent))

    def path(self, z0: Tensor) -> Tensor:
        """As `LatentForecast.path`."""
        states = [z0]
        for noise in torch.randn(AHEAD, *z0.shape):
            states.append(states[-1] + self.layers(torch.cat([states[-1], noise], 1)) / 2)
        return torch.stack(states[1:])


def crps(forecasts: Tensor, readings: Tensor) -> Tensor:
    """The continuous ranked probability score, estimated without bias: the mean of |Y - y| - |Y - Y'| / 2.

    forecasts: (forecasts, ...), at least 2; readings: (...). Returns a tensor shaped like readings. A score is in the
    unit of the readings, and for a sure forecast it is the absolute error.
    """
    count = len(forecasts)
    rank = torch.arange(1 - count, count, 2, dtype=forecasts.dtype).reshape(-1, *[1] * readings.ndim)
    spread = (rank * forecasts.sort(0).values).sum(0) / (count * (count - 1))
    return (forecasts - readings).abs().mean(0) - spread


def forecasts(call: Call, history: Tensor, count: int) -> Tensor:
    """Forecasts of each window, (count, windows, 24) in mg/dL, all of one call."""
    return call(history.repeat(count, 1)).unflatten(0, (count, len(history)))


def loss(model: nn.Module, history: Tensor, readings: Tensor) -> Tensor:
    """The mean CRPS of forecasts, in units of `SCALE`."""
    return crps(forecasts(model, history, FITTED), readings).mean() / SCALE


def seeded(call: Call, history: Tensor) -> Tensor:
    """Forecasts of each window, always the same ones of a module. torchsde draws from NumPy's random state."""
    state = np.random.get_state()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            return forecasts(call, history, SCORED)
        finally:
            np.random.set_state(state)


def score(call: Call, history: Tensor, readings: Tensor) -> float:
    """The mean CRPS of the 24 readings ahead, in mg/dL."""
    return crps(seeded(call, history), readings).double().mean().item()


def covered(paths: Tensor, readings: Tensor, *, level: float = 0.8) -> Tensor:
    """The share of readings inside the middle band of forecasts, for each time ahead: (24,)."""
    low, high = paths.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]), dim=0)
    return ((readings >= low) & (readings <= high)).double().mean(0)


def random_walk(data: Data) -> float:
    """The mean CRPS of a Gaussian around the last reading, with the deviations of the training part at each time ahead.

    The CRPS of a Gaussian is in closed form (Gneiting and Raftery, 2007, equation 21).
    """
    history, readings = data.train
    deviation = (readings - history[:, -1:]).square().mean(0).sqrt()
    history, readings = data.test
    z = ((readings - history[:, -1:]) / deviation).double()
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(z)
    return (deviation * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))).mean().item()


def example_inputs(batch: int) -> tuple[Tensor]:
    """The last hour and a half of windows of the training part: a tuple of one tensor, (batch, 18) float32."""
    history = datasets.glucose_hours().train[0]
    return (history[torch.arange(batch) % len(history), -18:],)


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """Fans of the forecasts of two windows, and how many readings are inside the band of 80%."""
    history, readings = data.test
    panels = figure.subplots(1, 3)
    call = next(iter(calls.values()))
    ahead = 5 * np.arange(1, AHEAD + 1)
    for axes, row in zip(panels[:2], DRAWN, strict=True):
        paths = seeded(call, history[row : row + 1])[:, 0].numpy()
        low, lower, middle, upper, high = np.quantile(paths, (0.1, 0.25, 0.5, 0.75, 0.9), axis=0)
        axes.fill_between(ahead, low, high, color="C0", alpha=0.2, linewidth=0, label="80%")
        axes.fill_between(ahead, lower, upper, color="C0", alpha=0.35, linewidth=0, label="50%")
        axes.plot(ahead, middle, "C0-", label="median")
        axes.plot(ahead, paths[:3].T, color="0.4", linewidth=0.6)
        axes.plot(ahead - 5 * AHEAD - 5, history[row].numpy(), "k.", markersize=3)
        axes.plot(ahead, readings[row].numpy(), "C1.", markersize=4, label="later")
        axes.set(xlabel="minutes from now")
    panels[0].set_ylabel("mg/dL")
    panels[0].legend(frameon=False, fontsize=7)
    for (name, call), style in zip(calls.items(), ("C0-", "C1--"), strict=False):
        shares = covered(seeded(call, history), readings).numpy()
        panels[2].plot(ahead, shares, style, label=name.rpartition("-")[0])
    panels[2].axhline(0.8, color="0.5", linewidth=0.8)
    panels[2].set(xlabel="minutes from now", ylabel="readings in the band of 80%", ylim=(0.5, 1))
    panels[2].legend(frameon=False, fontsize=7)


DRAWN = (20, 61)
_FORECAST = {"forecast": Use(inputs=example_inputs, dynamic={"history": {0: "batch", 1: "readings"}})}
_TRAINING = {"epochs": 10, "batch_size": 128, "learning_rate": 1e-2, "clip": 1.0}
FAMILY = Family(
    title="latent SDE",
    about="A forecast that is a random path: each call draws one by a seed, and many are a fan with quantiles. Over "
    "the two hours that it looks ahead, its band of 80% holds 70 to 90% of what came.",
    source="Li, Wong, Chen, Duvenaud, Scalable Gradients for Stochastic Differential Equations (2020)",
    data=datasets.glucose_hours,
    members={
        "latent_sde": Member(
            about="an SDE of a latent state, Euler-Maruyama with a step for each reading",
            build=LatentSDE,
            loss=loss,
            uses=_FORECAST,
            settings=_TRAINING,
        ),
        "latent_chain": Member(
            about="a Markov chain of a latent state, behind the same encoder",
            build=LatentChain,
            loss=loss,
            uses=_FORECAST,
            discrete=True,
            settings={**_TRAINING, "epochs": 8},
        ),
    },
    metric="CRPS, mg/dL",
    higher=False,
    score=score,
    baseline=("a random walk", random_walk),
    draw=draw,
)
