"""A solve whose solution is not used, before one that is."""

import torch
from torchdiffeq import odeint

from idioms import Case


def case():
    times = torch.tensor([0.0, 1.0])

    def model(x):
        odeint(lambda t, y: torch.sin(y), x, times, method="rk4")
        return odeint(lambda t, y: torch.sin(y), 2 * x, times, method="rk4")[-1]

    return Case(model, (torch.randn(2, 3),))
