"""An end time and a number of times that the caller gives as Python numbers."""

import torch
from torchdiffeq import odeint

from idioms import Case


def case():
    def model(x, end, count: int):
        y = odeint(lambda t, y: torch.sin(y) * t, x, torch.tensor([0.0, end]), rtol=1e-3, atol=1e-4)[-1]
        return odeint(lambda t, y: torch.sin(y) * t, y, torch.linspace(0, 1, count), method="rk4")

    return Case(model, (torch.randn(3, 3), 0.7, 5))
