"""Times in float64 for a float32 state, and the other way round."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case

TOL = {"rtol": 1e-3, "atol": 1e-4}


def case_float64_times():
    lin = nn.Linear(3, 3)

    def field(t, y):
        return torch.tanh(lin(y)) * torch.cos(t)

    def model(x, ts):
        fixed = torch.linspace(0, 1, 4, dtype=torch.float64)
        return (
            odeint(field, x, ts, **TOL),
            odeint(field, x, fixed, **TOL),
            odeint(field, x, fixed, method="rk4", options={"step_size": 0.07}),
        )

    args = torch.randn(3, 3), torch.linspace(0, 1, 3, dtype=torch.float64)
    return Case(model, args, BATCH | {"ts": {0: "times"}})


def case_float64_state():
    lin = nn.Linear(3, 3).double()

    def model(x):
        return odeint(lambda t, y: torch.tanh(lin(y)) * torch.cos(t), x, torch.linspace(0, 1, 4), **TOL)

    return Case(model, (torch.randn(3, 3).double(),))
