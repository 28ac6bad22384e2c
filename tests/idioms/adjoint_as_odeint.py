"""`from torchdiffeq import odeint_adjoint as odeint` at the top of the file, and arguments of the adjoint."""

import torch
from torch import nn
from torchdiffeq import odeint_adjoint as odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.func = nn.Linear(3, 3)
        self.times = torch.tensor([0.0, 1.0])

    def rate(self, t, y):
        return torch.tanh(self.func(y)) - t * y

    def forward(self, x):
        return odeint(
            self.rate,
            x,
            self.times,
            rtol=1e-3,
            atol=1e-3,
            adjoint_rtol=1e-2,
            adjoint_atol=1e-2,
            adjoint_method="rk4",
            adjoint_options={"step_size": 0.1, "norm": "seminorm"},
            adjoint_params=tuple(self.func.parameters()),
        )[-1]


def case():
    return Case(Model(), (torch.randn(3, 3),))
