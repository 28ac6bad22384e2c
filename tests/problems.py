"""Initial value problems with published end values, each written once for numpy and for torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torchdiffeq

from odelet.methods import METHODS
from odelet.tableau import TABLEAUS
from odelet_export.installed import key_of, lacking

ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
FIXED = [name for name, tableau in TABLEAUS.items() if not tableau.adaptive]
ITERATED = [name for name, method in METHODS.items() if method.iterates]


@dataclass(frozen=True)
class Problem:
    """y' = field(xp, t, y) from y0 at t = 0, where xp is numpy or torch. y20: at t = 20, or its ends."""

    name: str
    field: Callable[[ModuleType, Any, Any], Any]
    y0: Sequence[float]
    y20: Mapping[int, float]

    def on(self, xp: ModuleType) -> Callable[[Any, Any], Any]:
        """The field as a solver takes it."""
        return lambda t, y: self.field(xp, t, y)


def lotka_volterra(xp, t, y):
    return xp.stack([2 * (y[0] - y[0] * y[1]), -(y[1] - y[0] * y[1])])


def reaction(xp, t, y):
    return xp.stack([-y[0], y[0] - y[1] * y[1], y[1] * y[1]])


def torus(xp, t, y):
    r = xp.sqrt(y[0] * y[0] + y[1] * y[1])
    return xp.stack([-y[1] - y[0] * y[2] / r, y[0] - y[1] * y[2] / r, y[0] / r])


def rigid_body(xp, t, y):
    return xp.stack([y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]])


def decay_chain(xp, t, y):
    return xp.concat([-y[:1], y[:-2] - y[1:-1], y[-2:-1]])


def heat(xp, t, y):
    return xp.concat([y[1:2] - 2 * y[:1], y[:-2] - 2 * y[1:-1] + y[2:], y[-2:-1] - 2 * y[-1:]])


def kepler(xp, t, y):
    r = xp.sqrt(y[0] * y[0] + y[1] * y[1])
    return xp.stack([y[2], y[3], -y[0] / r**3, -y[1] / r**3])


def bessel(xp, t, y):
    return xp.stack([y[1], -(y[1] / (t + 1) + (1 - 0.25 / (t + 1) ** 2) * y[0])])


def van_der_pol(xp, t, y):
    return xp.stack([y[1], (1 - y[0] * y[0]) * y[1] - y[0]])


def duffing(xp, t, y):
    return xp.stack([y[1], y[0] ** 3 / 6 - y[0] + 2 * xp.sin(2.78535 * t)])


# Names, equations and end values: Hull, Enright, Fellen & Sedgwick 1972 (DETEST), as stored with NSDTST.
PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem("A2", lambda xp, t, y: -(y**3) / 2, [1], {0: 0.2182178902359887}),
        Problem("A3", lambda xp, t, y: y * xp.cos(t), [1], {0: 2.491650271850414}),
        Problem("A4", lambda xp, t, y: y / 4 * (1 - y / 20), [1], {0: 17.73016648131483}),
        Problem("A5", lambda xp, t, y: (y - t) / (y + t), [4], {0: -0.7887826688964196}),
        Problem("B1", lotka_volterra, [1, 3], {0: 0.6761876008576667, 1: 0.1860816099640036}),
        Problem("B3", reaction, [1, 0, 0], {0: 2.061153488557776e-9, 1: 0.05257228022048349}),
        Problem("B4", torus, [3, 0, 0], {0: 0.9826950928005993, 1: 2.198447081694832, 2: 0.9129452507276399}),
        Problem("B5", rigid_body, [0, 1, 1], {0: -0.9396570798729192, 1: -0.3421177754000779}),
        Problem("C1", decay_chain, [1] + [0] * 9, {9: 0.9979127409508656}),
        Problem("C3", heat, [1] + [0] * 9, {0: 2.948119211022058e-3, 9: 2.762434379029886e-3}),
        Problem("D1", kepler, [0.9, 0, 0, (1.1 / 0.9) ** 0.5], {0: 0.2198835352008397, 1: 0.9427076846341813}),
        Problem("D3", kepler, [0.5, 0, 0, 3**0.5], {0: -0.5780432953035361, 1: 0.8633840009194193}),
        Problem(
            "E1",
            bessel,
            [0.6713967071418030, 0.09540051444747446],
            {0: 0.1456723600728308, 1: -0.09883500195574063},
        ),
        Problem("E2", van_der_pol, [2, 0], {0: 2.008149762174948, 1: -0.04250887527320057}),
        Problem("E3", duffing, [0, 0], {0: -0.1004178858647128, 1: 0.2411400132095954}),
    )
}


@dataclass
class TorchSolution:
    """What torchdiffeq gave and did. outputs: one array for each part of the state."""

    outputs: list[np.ndarray]
    steps: int
    accepted: int
    evaluations: int


class Counted:
    """A field for torchdiffeq that counts calls, steps, and for an adaptive method accepted steps."""

    def __init__(self, field: Callable[[Any, Any], Any], *, adaptive: bool) -> None:
        self.field = field
        self.evaluations = self.steps = self.accepted = 0
        if adaptive:
            self.callback_accept_step = self._count_accepted

    def __call__(self, t, y):
        self.evaluations += 1
        return self.field(t, y)

    def callback_step(self, t0, y0, dt):
        self.steps += 1

    def _count_accepted(self, t0, y0, dt):
        self.accepted += 1


def torch_solve(field: Callable[[Any, Any], Any], y0: Any, t: Any, *, method: str, **settings: Any) -> TorchSolution:
    """Solve with torchdiffeq. y0, t: numpy arrays (y0 also a tuple of them); field: on torch tensors."""
    adaptive = METHODS[method].adaptive
    counted = Counted(field, adaptive=adaptive)
    state = tuple(map(torch.from_numpy, y0)) if isinstance(y0, tuple) else torch.from_numpy(y0)
    with torch.no_grad(), lacking():
        times = torch.from_numpy(np.asarray(t))
        solution = torchdiffeq.odeint(counted, state, times, method=key_of(method), **settings)
    outputs = [part.numpy() for part in (solution if isinstance(solution, tuple) else (solution,))]
    accepted = counted.accepted if adaptive else counted.steps
    return TorchSolution(outputs, counted.steps, accepted, counted.evaluations)
