"""Asserts on times that the caller gives, before they are used."""

import torch
from torchdiffeq import odeint

from idioms import BATCH, Case


def case():
    def model(x, t):
        assert t.ndim == 1 and (t[1:] > t[:-1]).all(), "times must increase"
        if t[0] < 0:
            raise ValueError("times start at 0 or later")
        return odeint(lambda t, y: torch.sin(y) * torch.cos(t), x, t, rtol=1e-3, atol=1e-4)

    return Case(model, (torch.randn(3, 3), torch.linspace(0.1, 1, 4)), BATCH | {"t": {0: "times"}})
