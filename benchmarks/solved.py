"""The models that are timed.

A model has three parts: what it does before its solve, its field, and what it does after the solve. Peers put their own
solver between the first and the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models.odenet import PIXEL_MAX, SIDE, digits_pretrained

Array = np.ndarray


class Solved(nn.Module):
    """A model whose middle is a solve. field: the function f(t, y). times: the output times (times,). method, rtol,
    atol and options: of the solver."""

    method = "dopri5"
    rtol = atol = 1e-5
    options: Mapping[str, Any] | None = None

    def __init__(self, slope: nn.Module, times: Tensor) -> None:
        super().__init__()
        self.field = slope
        self.register_buffer("times", times, persistent=False)

    def before(self, x: Tensor) -> Any:
        """The initial state, of an input."""
        return x

    def after(self, path: Any) -> Tensor:
        """The output, of the states at all output times."""
        return path

    def solve(self, state: Any) -> Any:
        """The states at all output times, of the initial state."""
        options = None if self.options is None else dict(self.options)
        return odeint(
            self.field, state, self.times, rtol=self.rtol, atol=self.atol, method=self.method, options=options
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.solve(self.before(x)))


class Layers(nn.Module):
    """A field of linear layers with tanh between them, on the state raised to a power.

    widths: of the layers. power: of the state. gain: the scale of the first weights.
    """

    def __init__(self, *widths: int, power: int = 1, gain: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inside, outside in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(inside, outside), nn.Tanh()]
            nn.init.normal_(layers[-2].weight, std=gain / math.sqrt(inside))
        self.net = nn.Sequential(*layers[:-1])
        self.power = power

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y**self.power if self.power > 1 else y)


class Spiral(Solved):
    """The curves of torchdiffeq's examples/ode_demo.py, from a network that was fitted to them."""


@cache
@torch.enable_grad()
def spiral() -> Solved:
    """The spiral, with a field fitted to dy/dt = A y^3 in some seconds. An untrained field would take three steps."""
    slope = Layers(2, 64, 64, 2, power=3)
    true = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(slope.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FITTING_STEPS)
    for _ in range(FITTING_STEPS):
        y = torch.rand(512, 2, generator=generator) * 4 - 2
        loss = (slope(None, y) - y**3 @ true).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return Spiral(slope, torch.tensor([0.0, 25.0])).eval()


FITTING_STEPS = 2000


class Decoder(Solved):
    """The second half of a latent ODE: the states at many output times, decoded."""

    def __init__(self) -> None:
        super().__init__(Layers(20, 100, 100, 20, gain=1.6), torch.linspace(0.0, 5.0, 100))
        self.decode = nn.Linear(20, 20)

    def after(self, path: Tensor) -> Tensor:
        return self.decode(path)


class Divergence(nn.Module):
    """A field of velocities, and of the rate at which the log-density falls along them: the trace, by gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.velocity = Layers(2, 64, 64, 2, gain=2.0)

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        position = state[0]
        with torch.enable_grad():
            position.requires_grad_(True)
            velocity = self.velocity(t, position)
            columns = velocity.unbind(1)
            gradients = [torch.autograd.grad(column.sum(), position, create_graph=True)[0] for column in columns]
        divergence = sum(gradient[:, i] for i, gradient in enumerate(gradients))
        return velocity, -divergence[:, None]


class Flow(Solved):
    """A continuous normalizing flow in the plane. Its output is the log-density of samples."""

    def __init__(self) -> None:
        super().__init__(Divergence(), torch.tensor([1.0, 0.0]))

    def before(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(x.shape[0], 1)

    def after(self, path: tuple[Tensor, Tensor]) -> Tensor:
        base = -0.5 * path[0][-1].square().sum(1) - math.log(2 * math.pi)
        return base - path[1][-1, :, 0]


class Digits(Solved):
    """The digits model of this repository, divided into its parts."""

    def __init__(self) -> None:
        model = digits_pretrained()
        super().__init__(model.field, model.times)
        self.stem, self.head = model.stem, model.head
        self.rtol, self.atol = model.rtol, model.atol

    def before(self, x: Tensor) -> Tensor:
        return self.stem((x / PIXEL_MAX).reshape(-1, 1, SIDE, SIDE))

    def after(self, path: Tensor) -> Tensor:
        return self.head(path[-1])


class Sampler(Solved):
    """The end of ten steps of euler along a field."""

    method = "euler"

    def __init__(self, slope: nn.Module) -> None:
        super().__init__(slope, torch.linspace(0.0, 1.0, 11))

    def after(self, path: Tensor) -> Tensor:
        return path[-1]


def short_spiral() -> Solved:
    """The spiral over a shorter time, in which steps of a fixed length stay stable."""
    return Spiral(spiral().field, torch.tensor([0.0, 1.0])).eval()


@torch.no_grad()
def read_me() -> Solved:
    """The spiral of the README: dy/dt = A y^3, at 50 times."""
    slope = Layers(2, 2, power=3)
    slope.net[0].weight.copy_(torch.tensor([[-0.1, 2.0], [-2.0, -0.1]]))
    slope.net[0].bias.zero_()
    return Spiral(slope, torch.linspace(0.0, 10.0, 50)).eval()
