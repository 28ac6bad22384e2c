"""`t.item()` and `float(t)` as factors inside the field."""

import math

import torch
from torchdiffeq import odeint

from idioms import Case


def case():
    def field(t, y):
        return y * t.item() + float(t) * math.pi

    return Case(lambda x: odeint(field, x, torch.tensor([0.0, 0.6]), rtol=1e-3, atol=1e-4), (torch.randn(3, 3),))
