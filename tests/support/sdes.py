"""SDEs for tests, as modules for torchsde and as functions on numpy arrays; torchsde takes increments of our paths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torchsde
from torchsde._core.base_sde import ForwardSDE

from odelet.methods.sde import Increment, Interval, Sde
from odelet.methods.sde_steps import SDE_METHODS
from odelet.numerics.backend import NUMPY

# Every method with every kind of noise that it solves.
PAIRS = [(name, noise) for name, method in SDE_METHODS.items() for noise in method.noises]
# How torchsde names the methods whose names differ in more than the calculus.
_NAMES = {"srid2": "srk", "sra1": "srk", "milstein_grad_free": "milstein"}


def torchsde_name(name):
    """The name and the options by which torchsde knows a method of the roster."""
    kind = name.removeprefix(f"{SDE_METHODS[name].calculus}_")
    return _NAMES.get(kind, kind), {"grad_free": True} if kind.endswith("grad_free") else {}


@dataclass
class Problem:
    """An SDE that is not linear and depends on time, for a kind of noise. width, channels: d and m."""

    noise: str
    calculus: str = "ito"
    dtype: str = "float64"
    width: int = 4

    @property
    def channels(self):
        return {"diagonal": self.width, "scalar": 1}.get(self.noise, 3)

    @cached_property
    def weights(self):
        draw = np.random.default_rng(4).standard_normal
        a, b = draw((self.width, self.width)) * 0.5, draw((self.width, self.width * self.channels)) * 0.3
        return a.astype(self.dtype), b.astype(self.dtype)

    def f(self, t, y):
        """The drift, on numpy arrays or on tensors."""
        xp, (a, _) = self._backend(y)
        return xp.tanh(y @ a) * xp.cos(t)

    def g(self, t, y):
        """The diffusion, on numpy arrays or on tensors."""
        xp, (_, b) = self._backend(y)
        if self.noise == "diagonal":
            return 0.3 * xp.sin(y) + 0.1 * t
        shape = (self.width, self.channels)
        if self.noise == "additive":
            return b.reshape(self.width, *shape)[0] * (1 + t) + 0 * y[:, :, None]
        return 0.3 * xp.tanh(y @ b).reshape((-1, *shape)) + 0.1 * t

    def _backend(self, y):
        if isinstance(y, np.ndarray):
            return np, self.weights
        return torch, [torch.as_tensor(x) for x in self.weights]

    @property
    def module(self):
        """The SDE as torchsde takes it."""
        module = torch.nn.Module()
        module.noise_type, module.sde_type = self.noise, self.calculus
        module.f, module.g = self.f, self.g
        return module

    def correction(self, method):
        """The derivative term of a method, by torchsde's derivatives; None where the method has none."""
        if not method.correction or self.noise == "additive":
            return None
        sde = ForwardSDE(self.module)

        def of_area(t, y, v):
            return sde.dg_ga_jvp_column_sum(t, y, v)

        def of_vector(t, y, v):
            return sde.g_prod_and_gdg_prod(t, y, torch.zeros_like(v), v)[1]

        term = of_area if "area" in method.draws else of_vector
        return lambda *args: term(*(torch.as_tensor(np.array(x)) for x in args)).detach().numpy()

    def sde(self, method):
        """The SDE as our methods take it."""
        given = {"drift": self.f, "diffusion": self.g, "correction": self.correction(method)}
        return Sde(noise=self.noise, width=self.width, channels=self.channels, **given)

    def start(self, batch, seed=0):
        return np.random.default_rng(seed).standard_normal((batch, self.width)).astype(self.dtype)


def drawn(method, steps, batch, channels, dtype="float64", seed=1):
    """Standard normal numbers for a solve, one array (steps, batch, ...) for each of the method's draws."""
    shapes = {"w": (channels,), "h": (channels,), "area": (channels, channels)}
    draw = np.random.default_rng(seed).standard_normal
    return [draw((steps, batch, *shapes[name])).astype(dtype) for name in method.draws]


class Increments:
    """A path whose increments are asked for step after step, made of standard normal numbers (steps, batch, ...).

    asked: the times between which increments were asked for.
    """

    def __init__(self, method, normals, channels):
        self._method, self._normals, self._channels = method, normals, channels
        self.asked = []

    def increment(self, t, t1) -> Increment:
        normals = [z[len(self.asked)] for z in self._normals]
        self.asked.append((t, t1))
        step = Interval.of(t, t1, normals[0], xp=NUMPY)
        return self._method.increment(normals, step, channels=self._channels, xp=NUMPY)


def solve(method, sde, y, grid, normals):
    """The last state (batch, d) of a solve along a grid."""
    memory, path = method.first_memory(sde, grid[0], y, xp=NUMPY), Increments(method, normals, sde.channels)
    for t, t1 in zip(grid[:-1], grid[1:], strict=True):
        step = Interval.of(t, t1, y, xp=NUMPY)
        y, memory = method.advance(sde, step, y, memory, path.increment(t, t1), xp=NUMPY)
    return y


class Given(torchsde.BaseBrownian):
    """A path of ours as torchsde takes it. path: an object with `increment`. shape: (batch, channels)."""

    def __init__(self, path, method, shape, dtype="float64"):
        super().__init__()
        self._path, self._shape, self._dtype = path, shape, getattr(torch, dtype)
        self._levy = "foster" if "area" in method.draws else "space-time" if "h" in method.draws else "none"

    def __call__(self, ta, tb=None, return_U=False, return_A=False):
        w, u, area = self._path.increment(float(ta), float(tb))
        wanted = [w, *([u] if return_U else []), *([area] if return_A else [])]
        tensors = tuple(torch.as_tensor(x) for x in wanted)
        return tensors if len(tensors) > 1 else tensors[0]

    def __repr__(self):
        return "Given"

    dtype = property(lambda self: self._dtype)
    device = property(lambda self: torch.device("cpu"))
    shape = property(lambda self: self._shape)
    levy_area_approximation = property(lambda self: self._levy)


def torch_sdeint(problem, name, y0, ts, path, **settings):
    """The states (times, batch, d) that torchsde finds along a path of ours, as an array."""
    method = SDE_METHODS[name]
    key, options = torchsde_name(name)
    bm = Given(path, method, (len(y0), problem.channels), problem.dtype)
    with torch.no_grad():
        states = torchsde.sdeint(
            problem.module,
            torch.as_tensor(y0),
            torch.as_tensor(ts),
            bm=bm,
            method=key,
            options=options,
            **settings,
        )
    return states.numpy()
