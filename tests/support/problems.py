"""Initial value problems with published end values, each written once for numpy and for torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torchdiffeq

from odelet_intercept.installed import key_of, lacking
from support.rosters import METHODS


@dataclass(frozen=True)
class Problem:
    """The initial value problem y' = field(xp, t, y) from y0 at t = 0, where xp is numpy or torch.

    y20: published elements of y(20), by index, with absolute errors up to 1e-11. jumps: times at which the field, or a
    derivative of it, is not continuous.
    """

    name: str
    field: Callable[[ModuleType, Any, Any], Any]
    y0: Sequence[float]
    y20: Mapping[int, float]
    jumps: Sequence[float] = ()

    @property
    def end(self) -> tuple[list[int], np.ndarray]:
        """The published elements of y(20): their indices and values."""
        return list(self.y20), np.array(list(self.y20.values()))

    def on(self, xp: ModuleType) -> Callable[[Any, Any], Any]:
        """The field as a solver takes it: a function of (t, y)."""
        return lambda t, y: self.field(xp, t, y)


def lotka_volterra(xp, t, y):
    return xp.stack([2 * (y[0] - y[0] * y[1]), -(y[1] - y[0] * y[1])])


def diffusion(xp, t, y):
    return xp.stack([y[1] - y[0], y[0] - 2 * y[1] + y[2], y[1] - y[2]])


def reaction(xp, t, y):
    return xp.stack([-y[0], y[0] - y[1] * y[1], y[1] * y[1]])


def torus(xp, t, y):
    r = xp.sqrt(y[0] * y[0] + y[1] * y[1])
    return xp.stack([-y[1] - y[0] * y[2] / r, y[0] - y[1] * y[2] / r, y[0] / r])


def rigid_body(xp, t, y):
    return xp.stack([y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]])


def decay_chain(xp, t, y):
    return xp.concat([-y[:1], y[:-2] - y[1:-1], y[-2:-1]])


def growing_decay_chain(xp, t, y):
    rates = xp.asarray(range(1, 10), dtype=y.dtype)
    lost = xp.concat([rates * y[:-1], 0 * y[:1]])
    return xp.concat([0 * y[:1], lost[:-1]]) - lost


def heat(xp, t, y):
    return xp.concat([y[1:2] - 2 * y[:1], y[:-2] - 2 * y[1:-1] + y[2:], y[-2:-1] - 2 * y[-1:]])


# The masses of Jupiter, Saturn, Uranus, Neptune and Pluto, in units of the sun's; SUN includes the inner planets.
MASSES = (0.000954786104043, 0.000285583733151, 0.0000437273164546, 0.0000517759138449, 0.00000277777777778)
SUN = 1.00000597682
GRAVITY = 2.95912208286


def planets(xp, t, y):
    masses, here = xp.asarray(MASSES, dtype=y.dtype), xp.eye(5, dtype=y.dtype)
    q, v = y[:15].reshape(5, 3), y[15:]
    cubes = ((q * q).sum(1) ** 1.5).reshape(5, 1)
    apart = q.reshape(1, 5, 3) - q.reshape(5, 1, 3)
    pulls = apart / ((apart * apart).sum(2) ** 1.5 + here).reshape(5, 5, 1) - (q / cubes).reshape(1, 5, 3)
    others = (pulls * ((1 - here) * masses).reshape(5, 5, 1)).sum(1)
    return xp.concat([v, GRAVITY * (others - (SUN + masses.reshape(5, 1)) * q / cubes).reshape(15)])


def kepler(xp, t, y):
    r = xp.sqrt(y[0] * y[0] + y[1] * y[1])
    return xp.stack([y[2], y[3], -y[0] / r**3, -y[1] / r**3])


def bessel(xp, t, y):
    return xp.stack([y[1], -(y[1] / (t + 1) + (1 - 0.25 / (t + 1) ** 2) * y[0])])


def van_der_pol(xp, t, y):
    return xp.stack([y[1], (1 - y[0] * y[0]) * y[1] - y[0]])


def duffing(xp, t, y):
    return xp.stack([y[1], y[0] ** 3 / 6 - y[0] + 2 * xp.sin(2.78535 * t)])


def falling(xp, t, y):
    return xp.stack([y[1], 0.032 - 0.4 * y[1] * y[1]])


def pursuit(xp, t, y):
    return xp.stack([y[1], xp.sqrt(1 + y[1] * y[1]) / (25 - t)])


def square_wave(xp, t, y):
    return xp.stack([y[1], 0.2 * y[1] - (np.pi**2 + 0.01) * y[0] + 1 - 2 * (xp.floor(t) % 2)])


def switched_decay(xp, t, y):
    return 55 - (1.5 - xp.floor(t) % 2) * y


def rectified(xp, t, y):
    return xp.stack([y[1], 0.01 * y[1] * (1 - y[0] * y[0]) - y[0] - abs(xp.sin(np.pi * t))])


def pulse(xp, t, y):
    before = -2 / 21 - 120 * (t - 5) / (1 + 4 * (t - 5) ** 2) ** 16
    return xp.where(t <= 10, before + 0 * y, -2 * y)


def cusps(xp, t, y):
    since = t - xp.asarray(range(1, 20), dtype=y.dtype)
    return 4 / 3 / CUSPS * (xp.sign(since) * abs(since) ** (1 / 3)).sum() * y


CUSPS = sum(i ** (4 / 3) for i in range(1, 20))


def ellipse(e: float) -> list[float]:
    """An orbit of eccentricity e, from where it is nearest to the sun."""
    return [1 - e, 0, 0, ((1 + e) / (1 - e)) ** 0.5]


def ends(*values: float) -> dict[int, float]:
    """All elements of y(20)."""
    return dict(enumerate(values))


# Positions, then velocities, of the five outer planets.
PLANETS = [
    *(3.42947415189, 3.35386959711, 1.35494901715, 6.64145542550, 5.97156957878, 2.18231499728),
    *(11.2630437207, 14.6952576794, 6.27960525067, -30.1552268759, 1.65699966404, 1.43785752721),
    *(-21.1238353380, 28.4465098142, 15.3882659679),
    *(-0.557160570446, 0.505696783289, 0.230578543901, -0.415570776342, 0.365682722812, 0.169143213293),
    *(-0.325325669158, 0.189706021964, 0.0877265322780, -0.0240476254170, -0.287659532608, -0.117219543175),
    *(-0.176860753121, -0.216393453025, -0.0148647893090),
]
PLANETS_20 = ends(
    *(-4.792730224323733, -2.420550725448973, -0.9212509306014886),
    *(-4.217310404035213, 7.356202947498970, 3.223785985421212),
    *(4.035559443262270, 17.19865528670555, 7.478910794233703),
    *(-29.98759326324844, -4.107310937550929, -0.9277008321754407),
    *(-24.42125302518482, 23.81459045746554, 14.92096306951359),
    *(0.3499208963063806, -0.5748487687912825, -0.2551694020879149),
    *(-0.5237040978903326, -0.2493000463579661, -0.08045341642044464),
    *(-0.3875289237334110, 0.05648603288767891, 0.03023606472143342),
    *(0.04133856546712445, -0.2862393029841379, -0.1183032405136207),
    *(-0.1511986457359206, -0.2460068894318766, -0.03189687411323877),
)

# Names, equations and end values: Hull, Enright, Fellen & Sedgwick 1972 (DETEST), as stored with NSDTST
# (Enright & Pryce, ACM Algorithm 648, 1987).
SMOOTH = (
    Problem("A1", lambda xp, t, y: -y, [1], ends(2.061153353012535e-9)),
    Problem("A2", lambda xp, t, y: -(y**3) / 2, [1], ends(0.2182178902359887)),
    Problem("A3", lambda xp, t, y: y * xp.cos(t), [1], ends(2.491650271850414)),
    Problem("A4", lambda xp, t, y: y / 4 * (1 - y / 20), [1], ends(17.73016648131483)),
    Problem("A5", lambda xp, t, y: (y - t) / (y + t), [4], ends(-0.7887826688964196)),
    Problem("B1", lotka_volterra, [1, 3], ends(0.6761876008576667, 0.1860816099640036)),
    Problem("B2", diffusion, [2, 0, 1], ends(1.000000001030576, 1.0, 0.9999999989694235)),
    Problem("B3", reaction, [1, 0, 0], ends(2.061153488557776e-9, 0.05257228022048349, 0.9474277177183630)),
    Problem("B4", torus, [3, 0, 0], ends(0.9826950928005993, 2.198447081694832, 0.9129452507276399)),
    Problem("B5", rigid_body, [0, 1, 1], ends(-0.9396570798729192, -0.3421177754000779, 0.7414126596199957)),
    Problem("C1", decay_chain, [1] + [0] * 9, {9: 0.9979127409508656}),
    Problem("C2", growing_decay_chain, [1] + [0] * 9, {9: 0.9999999814496180}),
    Problem("C3", heat, [1] + [0] * 9, {0: 2.948119211022058e-3, 9: 2.762434379029886e-3}),
    Problem("C4", heat, [1] + [0] * 50, {0: 3.124111453721466e-3, 50: 1.891330702629865e-14}),
    Problem("C5", planets, PLANETS, PLANETS_20),
    Problem(
        "D1",
        kepler,
        ellipse(0.1),
        ends(0.2198835352008397, 0.9427076846341813, -0.9787659841058176, 0.3287977990962036),
    ),
    Problem(
        "D2",
        kepler,
        ellipse(0.3),
        ends(-0.1777027357140412, 0.9467784719905892, -1.030294163192969, 0.1211074890053952),
    ),
    Problem(
        "D3",
        kepler,
        ellipse(0.5),
        ends(-0.5780432953035361, 0.8633840009194193, -0.9595083730380727, -0.06504915126712089),
    ),
    Problem(
        "D4",
        kepler,
        ellipse(0.7),
        ends(-0.9538990293416394, 0.6907409024219432, -0.8212674270877433, -0.1539574259125825),
    ),
    Problem(
        "D5",
        kepler,
        ellipse(0.9),
        ends(-1.295266250987574, 0.4003938963792321, -0.6775390924707566, -0.1270838154278686),
    ),
    Problem("E1", bessel, [0.6713967071418030, 0.09540051444747446], ends(0.1456723600728308, -0.09883500195574063)),
    Problem("E2", van_der_pol, [2, 0], ends(2.008149762174948, -0.04250887527320057)),
    Problem("E3", duffing, [0, 0], ends(-0.1004178858647128, 0.2411400132095954)),
    Problem("E4", falling, [30, 0], ends(33.95091444646555, 0.2767822659672869)),
    Problem("E5", pursuit, [0, 0], ends(14.11797390542629, 2.400000000000002)),
)
PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in SMOOTH}

# Class F of NSDTST: the field jumps, or has a cusp.
WHOLE = tuple(range(1, 20))
JUMPING: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem("F1", square_wave, [0, 0], {0: -12.94460621213470}, WHOLE),
        Problem("F2", switched_decay, [110], ends(70.03731057008607), WHOLE),
        Problem("F3", rectified, [0, 0], ends(-0.3726957553088175, -0.6230137949234190), WHOLE),
        Problem("F4", pulse, [1], ends(9.815017249707434e-11), (10,)),
        Problem("F5", cusps, [1], ends(1.0), WHOLE),
    )
}


@dataclass
class TorchSolution:
    """A solution of torchdiffeq and its counts. outputs: an array for each part of the state."""

    outputs: list[np.ndarray]
    steps: int
    accepted: int
    evaluations: int


class Counted:
    """A field for torchdiffeq that counts its calls, the steps, and with an adaptive method the accepted steps."""

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
    """The solution of torchdiffeq. y0: a numpy array or a tuple of them. t: a numpy array. field: of torch tensors."""
    adaptive = METHODS[method].adaptive
    counted = Counted(field, adaptive=adaptive)
    state = tuple(map(torch.from_numpy, y0)) if isinstance(y0, tuple) else torch.from_numpy(y0)
    with torch.no_grad(), lacking():
        times = torch.from_numpy(np.asarray(t))
        solution = torchdiffeq.odeint(counted, state, times, method=key_of(method), **settings)
    outputs = [part.numpy() for part in (solution if isinstance(solution, tuple) else (solution,))]
    accepted = counted.accepted if adaptive else counted.steps
    return TorchSolution(outputs, counted.steps, accepted, counted.evaluations)
