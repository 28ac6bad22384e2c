"""Models that mark fixed points, each captured once for all tests."""

from functools import cache

import torch
from torch import nn

from odelet_export import mark
from odelet_export.capture.capture import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides

BATCH = {"x": {0: "batch"}}


class Layer(nn.Module):
    """The fixed point of z = tanh(W z + U x), for x (batch, 4). how: options of `mark`."""

    def __init__(self, **how) -> None:
        super().__init__()
        self.inner, self.inject, self.how = nn.Linear(6, 6), nn.Linear(4, 6), how

    def forward(self, x):
        injected = self.inject(x)
        return mark(lambda z: torch.tanh(1.2 * self.inner(z) + injected), torch.zeros_like(injected), **self.how)


class Pair(Layer):
    """A fixed point of two tensors: rows (batch, 6), and one number for each sample (batch,)."""

    def forward(self, x):
        injected = self.inject(x)

        def f(state):
            z, level = state
            return torch.tanh(self.inner(z) + level[:, None] * injected), 0.3 * torch.cos(level + z[:, 0])

        return mark(f, (torch.zeros_like(injected), x[:, 0]), **self.how)


class Sequence(nn.Module):
    """Two fixed points of sequences (batch, length, 4): the second starts at the first, and reads it too."""

    def __init__(self, **how) -> None:
        super().__init__()
        self.mix, self.how = nn.Linear(4, 4), how

    def forward(self, x):
        first = mark(lambda z: torch.tanh(self.mix(z)) + 0.1 * z.mean(dim=1, keepdim=True) + x, x, **self.how)
        again = mark(lambda z: (0.3 * self.mix(z[0]) + first, 0.2 * z[1]), (first, first[:, :, 0]), **self.how)
        return again[0]


LENGTH = {"x": {0: "batch", 1: "length"}}
# By name: how to build the model, the shape of the example, and the dynamic axes.
CASES = {
    "plain": (Layer, (3, 4), BATCH),
    "anderson": (lambda: Layer(method="anderson", options={"m": 4, "lam": 1e-6}), (3, 4), BATCH),
    "damped": (lambda: Layer(method="anderson", options={"tau": 0.7}, rtol=1e-8, atol=1e-9), (3, 4), BATCH),
    "samples": (lambda: Layer(per_sample=True, rtol=1e-7, atol=1e-8), (3, 4), BATCH),
    "pair": (lambda: Pair(method="anderson"), (3, 4), BATCH),
    "pair of samples": (lambda: Pair(method="anderson", per_sample=True, rtol=1e-8), (3, 4), BATCH),
    "few turns": (lambda: Pair(method="anderson", options={"m": 3}, per_sample=True, max_iters=20), (3, 4), BATCH),
    "norm": (lambda: Layer(norm=lambda d: d.abs().max(), rtol=0.0, atol=1e-6), (3, 4), BATCH),
    "sequence": (lambda: Sequence(method="anderson", per_sample=True), (3, 5, 4), LENGTH),
}


def drawn(shape, seed=0, dtype=torch.float64):
    """Normal numbers; the same in every dtype, up to rounding."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@cache
def traced(name, dtype):
    """The capture of a case of CASES, and its callee."""
    build, shape, dynamic = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().to(dtype).eval()
    callee = Callee(model, (drawn(shape, dtype=dtype),), {})
    return capture(callee, dynamic, Overrides(), opset=20), callee
