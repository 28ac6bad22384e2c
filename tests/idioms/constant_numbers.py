"""`float()` and `int()` of constant tensors, outside and inside the field."""

import torch
from torchdiffeq import odeint

from idioms import Case


def case():
    end, power = torch.tensor(0.9), torch.tensor([2])

    def field(t, y):
        return -y / float(end) * (int(power) - 1)

    def model(x):
        return odeint(field, x, torch.tensor([0.0, float(end)]), rtol=1e-3, atol=1e-4)[-1]

    return Case(model, (torch.randn(3, 3),))
