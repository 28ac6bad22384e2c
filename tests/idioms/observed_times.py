"""Times that are a column of the input data."""

import torch
from torchdiffeq import odeint

from idioms import Case


def case():
    def model(x, obs):
        return odeint(lambda t, y: torch.sin(y), x, obs[:, 0], method="rk4")

    return Case(model, (torch.randn(2, 3), torch.tensor([[0.0, 1.0], [0.5, 2.0], [0.9, 1.0]])))
