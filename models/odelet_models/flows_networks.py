"""Normalizing flows of rows of numbers: maps of data to normal noise, whose log densities and inverses are known.

Each flow is called with x (batch, dims) and returns log p(x) in nats, (batch,); its method `inverse` maps normal noise
(batch, dims) to samples of the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torchdiffeq import odeint

from odelet_export import mark


def normal(z: Tensor) -> Tensor:
    """The log density of independent standard normal numbers, in nats: (batch, ...) to (batch,)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with smooth activations."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, outputs)
    )


class Sampler(nn.Module):
    """The samples of a flow: noise (batch, ...) to `flow.inverse(noise)`."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow: Any = flow

    def forward(self, z: Tensor) -> Tensor:
        """z: standard normal noise. Returns samples of the same shape."""
        return self.flow.inverse(z)


class ContinuousFlow(nn.Module):
    """FFJORD: an ODE moves data to noise, and the trace of its Jacobian, summed up on the way, is the change of log p.

    dims: numbers in a row. hidden: the width of the field. exact: whether the trace is exact, by one gradient for each
    dimension; else it is Hutchinson's estimate, by one gradient in all, with a random direction for each row that is
    kept for the whole solve. rtol, atol: the tolerances of the dopri5 solve over t in [0, 1] (no unit).

    Source: Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, FFJORD: Free-form Continuous Dynamics for Scalable
    Reversible Generative Models (2019).
    """

    times: Tensor

    def __init__(
        self, dims: int, *, hidden: int = 48, exact: bool = True, rtol: float = 1e-5, atol: float = 1e-5
    ) -> None:
        super().__init__()
        self.layers = perceptron(dims + 1, hidden, dims)
        self.exact = exact
        self.solver = {"method": "dopri5", "rtol": rtol, "atol": atol}
        self.register_buffer("times", torch.tensor([0.0, 1.0]), persistent=False)

    def field(self, t: Tensor, x: Tensor) -> Tensor:
        """t: scalar; x: (batch, dims). Returns dx/dt, shaped like x."""
        return self.layers(torch.cat([x, t.expand(len(x), 1)], dim=1))

    def divergence(self, t: Tensor, x: Tensor, direction: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """dx/dt (batch, dims), the trace of its Jacobian, and the sum of the squares of the Jacobian, both (batch,).

        direction: (batch, dims), with which the last two are estimated; None for the exact values.
        """
        with torch.enable_grad():
            x = x.requires_grad_(True)
            slope = self.field(t, x)
            if direction is not None:
                product = torch.autograd.grad(slope, x, direction, create_graph=True)[0]
                return slope, (product * direction).sum(1), product.square().sum(1)
            rows = [torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0] for i in range(x.shape[1])]
        jacobian = torch.stack(rows, dim=1)
        return slope, jacobian.diagonal(dim1=1, dim2=2).sum(1), jacobian.square().sum((1, 2))

    def directions(self, x: Tensor) -> Tensor | None:
        """A random direction of signs for each row, or None where the trace is exact."""
        return None if self.exact else torch.randn_like(x).sign()

    def forward(self, x: Tensor, direction: Tensor | None = None) -> Tensor:
        """The log density of x (batch, dims) in nats, (batch,).

        direction: signs (batch, dims) for Hutchinson's estimate; where None, and the trace is not exact, they are
        drawn.
        """
        if direction is None:
            direction = self.directions(x)

        def both(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            slope, trace, _ = self.divergence(t, state[0], direction)
            return slope, trace

        z, change = odeint(both, (x, x.new_zeros(len(x))), self.times, **self.solver)
        return normal(z[-1]) + change[-1]

    def inverse(self, z: Tensor) -> Tensor:
        """Samples (batch, dims) of noise z (batch, dims): the same ODE, from t = 1 to 0. It needs no trace."""
        return odeint(self.field, z, self.times.flip(0), **self.solver)[-1]

    def training_loss(self, x: Tensor, *, kinetic: float = 0.0, jacobian: float = 0.0, steps: int = 8) -> Tensor:
        """The mean of -log p(x) and of two energies of the way of each row, solved in equal steps of rk4.

        RNODE: the energies are the integrals of the squared speed and of the squares of the Jacobian; kinetic and
        jacobian are their weights. A small first one makes the ways straight, a small second one keeps the trace even
        along the way, and a solver with error control then needs few steps.

        Source: Finlay, Jacobsen, Nurbekyan, Oberman, How to Train Your Neural ODE: the World of Jacobian and Kinetic
        Regularization (2020).
        """
        direction = self.directions(x)

        def three(t: Tensor, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            slope, trace, squares = self.divergence(t, state[0], direction)
            return slope, trace, kinetic * slope.square().sum(1) + jacobian * squares

        zeros = x.new_zeros(len(x))
        options = {"step_size": 1 / steps}
        z, change, energy = odeint(three, (x, zeros, zeros), self.times, method="rk4", options=options)
        return (energy[-1] - normal(z[-1]) - change[-1]).mean()


class Coupling(nn.Module):
    """An affine coupling: some columns stay, and say how the others are scaled and shifted.

    mask: (dims,), 1 for columns that stay and 0 for the others.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, hidden: int) -> None:
        super().__init__()
        self.layers = perceptron(len(mask), hidden, 2 * len(mask))
        self.register_buffer("mask", mask, persistent=False)

    def scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms of the scales, between -2 and 2, and the shifts, for columns that stay: both (batch, dims)."""
        scale, shift = self.layers(kept * self.mask).chunk(2, dim=1)
        free = 1 - self.mask
        return 2 * torch.tanh(scale / 2) * free, shift * free

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of x (batch, dims), and the logarithm of the determinant of the Jacobian, (batch,)."""
        scale, shift = self.scale_and_shift(x)
        return x * scale.exp() + shift, scale.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """The x whose image is y, both (batch, dims)."""
        scale, shift = self.scale_and_shift(y)
        return (y - shift) * (-scale).exp()


class Chain(nn.Module):
    """A discrete flow: invertible blocks, one after the other.

    blocks: each returns its output and the change of the log density, (batch,), and has an `inverse`.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks: Any = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """The log density of x (batch, dims) in nats, (batch,)."""
        change = x.new_zeros(len(x))
        for block in self.blocks:
            x, one = block(x)
            change = change + one
        return normal(x) + change

    def inverse(self, z: Tensor) -> Tensor:
        """Samples (batch, dims) of noise z (batch, dims)."""
        for block in reversed(self.blocks):
            z = block.inverse(z)
        return z


class RealNVP(Chain):
    """Real-NVP: a chain of affine couplings; even and odd columns take turns to stay.

    Source: Dinh, Sohl-Dickstein, Bengio, Density Estimation using Real NVP (2017).
    """

    def __init__(self, dims: int, *, hidden: int = 48, couplings: int = 8) -> None:
        even = (torch.arange(dims) % 2 == 0).float()
        masks = [even if number % 2 == 0 else 1 - even for number in range(couplings)]
        super().__init__(Coupling(mask, hidden) for mask in masks)


class LipSwish(nn.Module):
    """x sigmoid(b x) / 1.1 with a learned b > 0: smooth, and with slopes between -1 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(nn.functional.softplus(self.sharpness + 0.5) * x) / 1.1


class ResidualBlock(nn.Module):
    """The map x + g(x) of rows of two numbers, where g shortens every distance, so that the map has an inverse."""

    def __init__(self, hidden: int, *, share: float = 0.9) -> None:
        super().__init__()
        sizes = [(2, hidden), (hidden, hidden), (hidden, 2)]
        first, second, third = (spectral_norm(nn.Linear(*size), n_power_iterations=3) for size in sizes)
        self.layers = nn.Sequential(first, LipSwish(), second, LipSwish(), third)
        self.share = share

    def residual(self, x: Tensor) -> Tensor:
        """g(x): (batch, 2). Two values differ by at most `share` times the difference of their arguments."""
        return self.share * self.layers(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x + g(x) for x (batch, 2), and the logarithm of the determinant of the Jacobian, (batch,)."""
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_(True)
            y = x + self.residual(x)
            a, b = (torch.autograd.grad(y[:, i].sum(), x, create_graph=True)[0] for i in range(2))
        return y, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).log()

    def inverse(self, y: Tensor) -> Tensor:
        """The x with x + g(x) = y, both (batch, 2): the fixed point of y - g(x), for each row on its own."""
        return mark(lambda x: y - self.residual(x), y, rtol=0.0, atol=1e-5, max_iters=300, per_sample=True)


class ResidualFlow(Chain):
    """Residual Flow: a chain of residual blocks, for rows of two numbers, whose determinants are exact.

    Sources: Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, Invertible Residual Networks (2019); Chen, Behrmann,
    Duvenaud, Jacobsen, Residual Flows for Invertible Generative Modeling (2019).
    """

    def __init__(self, *, hidden: int = 48, blocks: int = 8) -> None:
        super().__init__(ResidualBlock(hidden) for _ in range(blocks))
