"""The field is an object with `__call__` that is not a module."""

import torch
from torchdiffeq import odeint

from idioms import Case


class Rotation:
    def __init__(self, matrix):
        self.matrix = matrix
        self.evals = 0

    def __call__(self, t, y):
        self.evals += 1
        return y @ self.matrix * torch.exp(-t)


def case():
    field, times = Rotation(torch.randn(3, 3) / 3), torch.tensor([0.0, 1.0])
    return Case(lambda x: odeint(field, x, times, method="dopri8", rtol=1e-5), (torch.randn(2, 3),))
