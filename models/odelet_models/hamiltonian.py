"""Hamiltonian networks: a field that is made of a learned energy, and keeps the energy; here of a pendulum.

Follows Greydanus, Dzamba and Yosinski, "Hamiltonian Neural Networks" (2019), whose comparison is a network that learns
the field itself. Lengths and times have units in which the pendulum's frequency at small angles is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models.family import Call, Data, Family, Member, Use

TRAIN, TEST = 40, 20
# Times of a trajectory, two or three swings, and the standard deviation of the errors of measured slopes.
TIMES = torch.linspace(0.0, 20.0, 41)
SLOPE_ERROR = 0.1
# The angles, in radians, from which pendulums are let go; a pendulum that is let go at pi stands on its head.
ANGLES = (0.4, 2.4)
TOLERANCE = 1e-6


def pendulum(_time: Tensor, y: Tensor) -> Tensor:
    """The true field. y: (..., 2), angle in radians and momentum. Returns dy/dt, shaped like y."""
    angle, momentum = y.unbind(-1)
    return torch.stack([momentum, -angle.sin()], dim=-1)


def energy(y: Tensor) -> Tensor:
    """The true energy of states (..., 2): 0 at rest, and 2 for a pendulum that stands on its head."""
    angle, momentum = y.unbind(-1)
    return 0.5 * momentum.square() + 1 - angle.cos()


@cache
def swings() -> Data:
    """Trajectories of pendulums: states and slopes, each (trajectories, 41, 2), at `TIMES`; 40 to train and 20 to test.

    The slopes are measured with errors. Numbers are rounded, so that they are equal on all processors.

    >>> swings().rows
    (40, 20)
    """
    random = np.random.default_rng(0)
    angles = random.uniform(*ANGLES, TRAIN + TEST) * random.choice([-1, 1], TRAIN + TEST)
    start = torch.tensor(np.stack([angles, np.zeros_like(angles)], axis=1))
    states = odeint(pendulum, start, TIMES.double(), method="rk4", options={"step_size": 0.02}).transpose(0, 1)
    slopes = pendulum(TIMES, states) + torch.tensor(random.normal(0.0, SLOPE_ERROR, states.shape))
    y, dy = states.float().mul(1e4).round().div(1e4), slopes.float().mul(1e4).round().div(1e4)
    return Data(train=(y[:TRAIN], dy[:TRAIN]), test=(y[TRAIN:], dy[TRAIN:]))


def layers(outputs: int, hidden: int = 64) -> nn.Sequential:
    """A smooth network of two hidden layers, of states (batch, 2)."""
    return nn.Sequential(
        nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, outputs)
    )


class HNN(nn.Module):
    """A Hamiltonian network: it learns an energy H, and its field is (dH/dp, -dH/dq)."""

    def __init__(self) -> None:
        super().__init__()
        self.hamiltonian = layers(1)

    def forward(self, _time: Tensor, y: Tensor) -> Tensor:
        """y: (batch, 2), angle q and momentum p. Returns dy/dt, shaped like y."""
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.hamiltonian(y).sum(), y, create_graph=True)
        return torch.stack([slope[:, 1], -slope[:, 0]], dim=1)


class Free(nn.Module):
    """The field of a plain neural ODE: nothing holds it to keep an energy."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers(2)

    def forward(self, _time: Tensor, y: Tensor) -> Tensor:
        """y: (batch, 2). Returns dy/dt, shaped like y."""
        return self.layers(y)


class Trajectory(nn.Module):
    """The states of a pendulum at times that the caller chooses. tolerance: of dopri5, relative and absolute."""

    def __init__(self, field: nn.Module, *, tolerance: float = TOLERANCE) -> None:
        super().__init__()
        self.field = field
        self.tolerance = tolerance

    def forward(self, y0: Tensor, times: Tensor) -> Tensor:
        """y0: (batch, 2), at the first time; times: (count,), rising. Returns the states, (count, batch, 2)."""
        return odeint(self.field, y0, times, rtol=self.tolerance, atol=self.tolerance, method="dopri5")


def loss(field: nn.Module, states: Tensor, slopes: Tensor) -> Tensor:
    """The squared error of the slopes at the measured states."""
    return (field(TIMES[0], states.reshape(-1, 2)) - slopes.reshape(-1, 2)).square().mean()


def error(call: Callable[[Tensor, Tensor], Tensor], states: Tensor, _slopes: Tensor) -> float:
    """The root of the mean squared error of the states at `TIMES`, where a call knows the first states alone."""
    return (call(states[:, 0], TIMES).detach() - states.transpose(0, 1)).double().square().mean().sqrt().item()


def linear(data: Data) -> float:
    """The `error` of a linear field that is fitted to the slopes by least squares."""
    states, slopes = (tensor.reshape(-1, 2) for tensor in data.train)
    matrix = torch.linalg.lstsq(states, slopes).solution
    return error(lambda y0, times: y0 @ torch.matrix_exp(matrix * times[:, None, None]), *data.test)


def states_and_times(batch: int) -> tuple[Tensor, Tensor]:
    """Pendulums at rest (batch, 2), at angles from -2 to 2, and nine times from 0 to 4."""
    angle = torch.rand(batch, generator=torch.Generator().manual_seed(0)) * 4 - 2
    return torch.stack([angle, torch.zeros(batch)], dim=1), torch.linspace(0.0, 4.0, 9)


DRAWN_TIMES = torch.linspace(0.0, 100.0, 1001)
DRAWN_START = torch.tensor([[2.0, 0.0], [1.0, 0.0]])


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """Two pendulums over a time five times as long as those in the data: their states, and their energies."""
    networks = {"plain neural ODE": ("pendulum_node", "#D55E00"), "Hamiltonian network": ("hnn", "#0072B2")}
    *planes, energies = figure.subplots(1, 3)
    for (title, (member, colour)), plane in zip(networks.items(), planes, strict=True):
        states = calls[f"{member}-trajectory"](DRAWN_START, DRAWN_TIMES)
        for number in range(len(DRAWN_START)):
            plane.plot(*states[:, number].T.numpy(), color=colour, linewidth=0.6)
            name = {"label": title} if number == 0 else {}
            energies.plot(DRAWN_TIMES, energy(states[:, number]), color=colour, linewidth=1, **name)
        plane.set_xlim(-2.7, 2.7)
        plane.set_ylim(-2.1, 2.1)
        plane.set_title(title, fontsize=9)
        plane.set_xlabel("angle, rad")
        plane.set_ylabel("momentum")
    for number, start in enumerate(energy(DRAWN_START).tolist()):
        name = {"label": "true"} if number == 0 else {}
        energies.axhline(start, color="black", linewidth=0.8, linestyle="--", **name)
    energies.set_xlabel("time")
    energies.set_ylabel("true energy of the state")
    energies.legend(fontsize=8)


_USES = {
    "trajectory": Use(module=Trajectory, inputs=states_and_times, dynamic={"y0": {0: "batch"}, "times": {0: "count"}})
}
_TRAINING = {"epochs": 400, "batch_size": 8, "learning_rate": 1e-2}
FAMILY = Family(
    title="Hamiltonian network",
    about="A model of a mechanical system that learns its energy, and moves along lines of equal energy. Over a long "
    "time a pendulum keeps its swing, while that of a plain neural ODE gains or loses it.",
    source="Greydanus, Dzamba, Yosinski, Hamiltonian Neural Networks (2019)",
    data=swings,
    members={
        "hnn": Member(about="the gradient of a learned energy", build=HNN, loss=loss, uses=_USES, settings=_TRAINING),
        "pendulum_node": Member(about="a learned field", build=Free, loss=loss, uses=_USES, settings=_TRAINING),
    },
    metric="error over 20 units of time",
    higher=False,
    score=error,
    baseline=("a linear field", linear),
    draw=draw,
)
