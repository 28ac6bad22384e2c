"""An end time as an input: a scalar, a tensor of one element, a factor of the times."""

import torch
from torchdiffeq import odeint

from idioms import Case

TOL = {"rtol": 1e-3, "atol": 1e-4}


def case():
    def field(t, y):
        return torch.sin(y) * torch.cos(t)

    def model(x, end, last):
        return (
            odeint(field, x, torch.stack([torch.zeros_like(end), end]), **TOL)[-1],
            odeint(field, x, torch.cat([torch.zeros(1), last]), **TOL)[-1],
            odeint(field, x, torch.linspace(0, 1, 4) * end, **TOL),
        )

    return Case(model, (torch.randn(3, 3), torch.tensor(0.7), torch.tensor([0.9])))
