"""A score model, which makes points from noise by an SDE that runs back in time, or by the ODE of the same densities.

Follows Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021), with the
variance-preserving SDE, on two moons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torchsde
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use

POINT = 2
WIDTH = 96
# How many times each point gets noise in a step of training.
TIMES = 4
# The rate of the noise grows from the first to the second number over the time from 0 to 1.
RATES = (0.1, 12.0)
# Paths end at this time, as the score has no bound at 0. It is also the step of the SDE.
LAST = 1 / 128


def rate(t: Tensor) -> Tensor:
    """The rate of the noise at a time t from 0, the data, to 1, noise alone."""
    return RATES[0] + t * (RATES[1] - RATES[0])


def kept(t: Tensor) -> Tensor:
    """The factor of a point at time t; the noise beside it has the variance 1 - kept^2."""
    return torch.exp(-RATES[0] * t / 2 - (RATES[1] - RATES[0]) * t.square() / 4)


def layers(inputs: int, width: int) -> nn.Sequential:
    """Linear layers with SiLU between them, from so many numbers to a point."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, POINT),
    )


class ScoreModel(nn.Module):
    """Finds the noise in a noisy point, which is the score of the noisy points' density but for a factor."""

    def __init__(self, *, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = layers(POINT + 3, width)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (batch, 2); t: (batch, 1), or a scalar. Returns the noise in x, (batch, 2), of deviation 1."""
        t = t.expand(len(x), 1)
        noise = torch.sqrt(1 - kept(t).square())
        return self.layers(torch.cat([x, t, noise, torch.log(noise / kept(t)) / 2], 1))

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """The gradient of the logarithm of the density at time t, (batch, 2). t: scalar."""
        return -self(x, t) / torch.sqrt(1 - kept(t).square())


class ReverseSDE(nn.Module):
    """Samples by the SDE that runs back from noise to points; its own time s goes from 0 to 1 as t goes from 1 to 0."""

    noise_type, sde_type = "additive", "ito"

    def __init__(self, network: ScoreModel) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("times", torch.tensor([0.0, 1 - LAST]), persistent=False)

    def f(self, s: Tensor, x: Tensor) -> Tensor:
        """s: scalar; x: (batch, 2). Returns the drift, shaped like x."""
        t = 1 - s
        return rate(t) * (x / 2 + self.network.score(x, t))

    def g(self, s: Tensor, x: Tensor) -> Tensor:
        """The diffusion, (batch, 2, 2): the same in all directions and at all points."""
        return torch.sqrt(rate(1 - s)) * torch.eye(POINT).expand(len(x), POINT, POINT)

    def forward(self, noise: Tensor) -> Tensor:
        """Points (batch, 2) of noise (batch, 2), standard normal numbers, and of the noise of the path."""
        return torchsde.sdeint(self, noise, self.times, dt=LAST, method="euler")[-1]


class ProbabilityFlow(nn.Module):
    """Samples by the ODE whose solutions have the densities of the SDE at all times: equal noise gives equal points."""

    def __init__(self, network: ScoreModel, *, rtol: float = 1e-5, atol: float = 1e-5) -> None:
        super().__init__()
        self.network = network
        self.rtol, self.atol = rtol, atol
        self.register_buffer("times", torch.tensor([1.0, LAST]), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Points (batch, 2) of noise (batch, 2), standard normal numbers."""

        def field(t: Tensor, x: Tensor) -> Tensor:
            t = t.clamp(min=LAST)  # The last step of dopri5 goes beyond the end.
            return -rate(t) / 2 * (x + self.network.score(x, t))

        return odeint(field, noise, self.times, rtol=self.rtol, atol=self.atol, method="dopri5")[-1]


class Generator(nn.Module):
    """The discrete twin of the score model: layers that turn noise into points at once.

    It is fitted by the energy distance, as the networks of Bouchacourt et al., "DISCO Nets" (2016).
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.layers = layers(POINT, width)

    def forward(self, noise: Tensor) -> Tensor:
        """Points (batch, 2) of noise (batch, 2), standard normal numbers."""
        return self.layers(noise)


def denoising(model: nn.Module, points: Tensor) -> Tensor:
    """The mean square error of the noise that the network finds in points with noise, each at four times by chance."""
    points = points.repeat(TIMES, 1)
    t = LAST + (1 - LAST) * torch.rand(len(points), 1)
    noise = torch.randn_like(points)
    factor = kept(t)
    return (model(factor * points + torch.sqrt(1 - factor.square()) * noise, t) - noise).square().mean()


def distance(first: Tensor, second: Tensor) -> Tensor:
    """The square of the energy distance of two sets of points, (n, 2) and (m, 2); it is 0 for equal sets alone.

    It is 2 E|X - Y| - E|X - X'| - E|Y - Y'|, each over all pairs (Szekely and Rizzo, 2013).
    """
    within = [torch.cdist(x, x).mean() for x in (first, second)]
    return 2 * torch.cdist(first, second).mean() - within[0] - within[1]


def matching(model: nn.Module, points: Tensor) -> Tensor:
    """The square of the energy distance of the points to as many that the network makes."""
    return distance(model(torch.randn_like(points)), points)


def seeded(call: Call) -> Tensor:
    """Points of a sampler, always the same ones of a module. torchsde draws from NumPy's random state."""
    state = np.random.get_state()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            return call(torch.randn(SAMPLES, POINT))
        finally:
            np.random.set_state(state)


SAMPLES = 2000


def score(call: Call, points: Tensor) -> float:
    """The energy distance of 2,000 samples to the points of the test part."""
    return distance(seeded(call).double(), points.double()).sqrt().item()


def gaussian(data: Data) -> float:
    """The score of the Gaussian with the mean and the covariance of the training part."""
    (points,) = data.train
    factor = torch.linalg.cholesky(points.T.cov())
    return score(lambda noise: points.mean(0) + noise @ factor.T, *data.test)


def example_inputs(batch: int) -> tuple[Tensor]:
    """Standard normal numbers: a tuple of one tensor, (batch, 2) float32."""
    return (torch.randn(batch, POINT, generator=torch.Generator().manual_seed(0)),)


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """The points of the test part, and 2,000 points of each sampler."""
    panels = figure.subplots(1, 1 + len(calls), sharex=True, sharey=True)
    shown = {"moons": data.test[0]} | {name.replace("-", "\n"): seeded(call) for name, call in calls.items()}
    for axes, (name, points) in zip(panels, shown.items(), strict=True):
        horizontal, vertical = points.numpy().T
        axes.plot(horizontal, vertical, "k." if name == "moons" else "C0.", markersize=1.5, alpha=0.5)
        axes.set(aspect="equal", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5))
        axes.set_title(name, fontsize=9)


_NOISE = {"noise": {0: "batch"}}
FAMILY = Family(
    title="score SDE",
    about="A generator of samples: an SDE that adds noise to data is run back in time by a network that finds noise. "
    "An ODE with the same densities makes the same points of the same noise.",
    source="Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole, Score-Based Generative Modeling through SDEs (2021)",
    data=datasets.moons,
    members={
        "score_sde": Member(
            about="a network that finds the noise; 127 steps of Euler and Maruyama, or dopri5 at 1e-5",
            build=ScoreModel,
            loss=denoising,
            uses={
                "sde": Use(inputs=example_inputs, dynamic=_NOISE, module=ReverseSDE),
                "flow": Use(inputs=example_inputs, dynamic=_NOISE, module=ProbabilityFlow),
            },
            settings={"epochs": 230, "batch_size": 256, "learning_rate": 5e-3, "clip": 1.0},
        ),
        "generator": Member(
            about="layers that turn noise into points at once",
            build=Generator,
            loss=matching,
            uses={"sample": Use(inputs=example_inputs, dynamic=_NOISE)},
            discrete=True,
            settings={"epochs": 60, "batch_size": 256, "learning_rate": 5e-3, "clip": 1.0},
        ),
    },
    metric="energy distance",
    higher=False,
    score=score,
    baseline=("a Gaussian", gaussian),
    draw=draw,
)
