"""Functions of Python's `math` and of NumPy on the time in a field: `math.sin(t)`, `np.interp(t, times, doses)`."""

import math

import numpy as np
import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

TIMES, DOSES = np.array([0.0, 0.2, 0.5, 1.0]), np.array([0.0, 1.0, 0.4, 0.0])


def case_imported_in_the_function():
    net = nn.Linear(3, 3)

    def field(t, y):
        import math as m
        from math import exp

        return torch.tanh(net(y)) * m.cos(t) + exp(-t) * m.sqrt(1 + t.item())

    return Case(lambda x: odeint(field, x, torch.tensor([0.0, 0.5, 0.9]), method="rk4")[-1], (torch.randn(3, 3),))


def case():
    net = nn.Linear(3, 3)

    def field(t, y):
        season = math.sin(2 * math.pi * t) + np.exp(-t.item())
        return torch.tanh(net(y)) * season + float(np.interp(t.item(), TIMES, DOSES)) * (
            1 if math.floor(4 * t) < 2 else 2
        )

    options = {"step_size": 0.125}
    return Case(
        lambda x: odeint(field, x, torch.tensor([0.0, 0.9]), method="rk4", options=options), (torch.randn(3, 3),)
    )
