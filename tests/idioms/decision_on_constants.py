"""Decisions on constants: asserts on times, a flip of times that run backwards, a check for negative times."""

import torch
from torchdiffeq import odeint

from idioms import Case

GRID = torch.tensor([1.0, 0.5, 0.0])


def case():
    def model(x):
        assert (GRID[1:] < GRID[:-1]).all()
        t = GRID if GRID[0] > GRID[-1] else GRID.flip(0)
        if torch.any(t < 0):
            raise ValueError("negative times")
        t = t.sort(descending=True).values
        return odeint(lambda t, y: torch.sin(y) * torch.cos(t), x, t, rtol=1e-3, atol=1e-4)

    return Case(model, (torch.randn(3, 3),))
