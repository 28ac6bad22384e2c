"""Models for tests of the form bounded: one with a field for each sample, and one with a single trajectory."""

import numpy as np
import torch
from torch import nn
from torchdiffeq import odeint

BATCH = {0: "batch"}
WIDTH = 3
DYNAMIC = {name: BATCH for name in ("y0", "w", "c")}


class Fields(nn.Module):
    """A solve in which each sample has its own field, y' = tanh(w y) + sin(c t)."""

    def forward(self, y0, w, c):
        def field(t, y):
            return torch.tanh(torch.einsum("bij,bj->bi", w, y)) + torch.sin(c * t)

        t = torch.tensor([0.0, 0.7, 2.0], dtype=y0.dtype)
        return odeint(field, y0, t, rtol=1e-4, atol=1e-4, method="dopri5")


class Single(nn.Module):
    """One trajectory of a pendulum, without an axis of samples. y0: (2,)."""

    def forward(self, y0):
        t = torch.tensor([0.0, 2.0], dtype=y0.dtype)
        return odeint(lambda t, y: torch.stack([y[1], -torch.sin(y[0])]), y0, t, rtol=1e-4, atol=1e-4)[-1]


def fields(count, seed, *, scale=1.0, strength=1.0):
    """Inputs of `Fields` by name: states (count, 3), matrices (count, 3, 3) and frequencies (count, 3)."""
    generator = np.random.default_rng(seed)
    y0, w = generator.normal(size=(count, WIDTH)), generator.normal(size=(count, WIDTH, WIDTH))
    c = generator.uniform(0, 2, size=(count, WIDTH))
    return {"y0": scale * y0, "w": strength * w, "c": strength * c}
