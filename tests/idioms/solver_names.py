"""All names by which a module may call the functions of torchdiffeq."""

import functools

import torch
import torchdiffeq
import torchdiffeq as tde
from torch import nn
from torchdiffeq import odeint
from torchdiffeq import odeint as solve_ivp

from idioms import Case

TIMES = torch.tensor([0.0, 1.0])
SOLVERS = {"plain": torchdiffeq.odeint, "adjoint": torchdiffeq.odeint_adjoint}
midpoint = functools.partial(odeint, method="midpoint", t=TIMES)


def by_default(f, x, *, solver=odeint):
    return solver(f, x, TIMES, method="euler", options=dict(step_size=0.1))[-1]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x):
        def f(t, y):
            return torch.tanh(self.lin(y)) - t * y

        return (
            torchdiffeq.odeint(f, x, TIMES, rtol=1e-3, atol=1e-3)[-1],
            tde.odeint(f, x, TIMES, method="rk4", options={"step_size": 0.25}),
            solve_ivp(f, x, TIMES, method="rk4")[1],
            SOLVERS["adjoint"](f, x, TIMES, method="heun3", adjoint_params=tuple(self.parameters()))[1],
            midpoint(f, x)[-1],
            by_default(f, x),
            odeint(func=f, y0=x, t=TIMES, rtol=1e-3, atol=1e-4)[-1],
        )


def case():
    return Case(Model(), (torch.randn(3, 3),))
