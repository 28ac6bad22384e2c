"""A neural CDE: a hidden state that is driven by a time series through an interpolation, as in plain torch."""

from __future__ import annotations

import numpy as np
import torch
from solved import Solved
from torch import Tensor, nn

LENGTH, CHANNELS, HIDDEN, WIDTH = 50, 4, 32, 128


class Hermite:
    """Cubics through values (batch, knots, channels); the slope at a knot is that of the line before the knot.

    coefficients: those of the slope of each piece, b + (2 c + 3 d p) p, each (batch, pieces, channels).
    """

    def __init__(self, values: Tensor, knots: Tensor) -> None:
        gaps = (knots[1:] - knots[:-1]).unsqueeze(-1)
        after = (values[..., 1:, :] - values[..., :-1, :]) / gaps
        before = torch.cat([after[..., :1, :], after[..., :-1, :]], dim=-2)
        turn = 2 * (after - before) / gaps
        self.knots = knots
        self.coefficients = before, turn, -turn / (2 * gaps)

    def derivative(self, t: Tensor) -> Tensor:
        """The slope (batch, channels) at a time."""
        index = torch.bucketize(t, self.knots).sub(1).clamp(0, len(self.knots) - 2)
        b, c, d = (part[..., index, :] for part in self.coefficients)
        past = t - self.knots[index]
        return b + (2 * c + 3 * d * past) * past


class ControlledField(nn.Module):
    """The field f(z) dX/dt. path: the interpolation X, which the model sets before each solve."""

    path: Hermite

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(HIDDEN, WIDTH), nn.ReLU(), nn.Linear(WIDTH, HIDDEN * CHANNELS), nn.Tanh())

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        matrix = self.net(z).view(-1, HIDDEN, CHANNELS)
        return (matrix @ self.path.derivative(t).unsqueeze(-1)).squeeze(-1)


class Controlled(Solved):
    """A classifier of time series (batch, knots, channels) by a neural CDE."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(ControlledField(), torch.tensor([0.0, 1.0]))
        self.initial, self.readout = nn.Linear(CHANNELS, HIDDEN), nn.Linear(HIDDEN, 10)
        self.register_buffer("knots", torch.linspace(0.0, 1.0, LENGTH))

    def before(self, x: Tensor) -> Tensor:
        self.field.path = Hermite(x, self.knots)
        start: Tensor = self.initial(x[:, 0])
        return start

    def after(self, path: Tensor) -> Tensor:
        classes: Tensor = self.readout(path[-1])
        return classes


def series(batch: int) -> np.ndarray:
    """Series (batch, knots, channels): the time, and sums of three waves."""
    generator = np.random.default_rng(1)
    times = np.linspace(0.0, 1.0, LENGTH)
    rates = generator.uniform(0.5, 3.0, size=(batch, CHANNELS - 1, 3, 1))
    phases = generator.uniform(0.0, 1.0, size=rates.shape)
    waves = np.sin(2 * np.pi * (rates * times + phases)).sum(2)
    clock = np.broadcast_to(times, (batch, 1, LENGTH))
    return np.concatenate([clock, waves], axis=1).transpose(0, 2, 1).astype(np.float32)
