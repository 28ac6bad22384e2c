"""An end time as an input, in a list as a tensor and by `.item()`: `torch.tensor([0, T.item()])`."""

import torch
from torchdiffeq import odeint

from idioms import Case

TOL = {"rtol": 1e-3, "atol": 1e-4}


def case():
    def model(x, end):
        y = odeint(lambda t, y: torch.sin(y) * t, x, torch.tensor([0.0, end]), **TOL)[-1]
        return odeint(lambda t, y: torch.sin(y) * t, y, torch.tensor([0, end.item()]), **TOL)[-1]

    return Case(model, (torch.randn(3, 3), torch.tensor(0.7)))
