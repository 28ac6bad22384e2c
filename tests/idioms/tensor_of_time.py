"""Tensors made of Python lists that contain the time: `torch.tensor([t, 1.0])`, `torch.Tensor([t])`."""

import torch
from torchdiffeq import odeint

from idioms import Case


def case():
    def field(t, y):
        return y * torch.tensor([t, 1.0, 0.5 * t]) - torch.Tensor([t])

    return Case(lambda x: odeint(field, x, torch.tensor([0.0, 0.6]), rtol=1e-3, atol=1e-4), (torch.randn(3, 3),))
