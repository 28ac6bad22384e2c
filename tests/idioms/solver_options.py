"""Options of step size control, options that the method ignores, tolerances as tensors and as lists of one number."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

CONTROL = {"first_step": 0.1, "safety": 0.8, "max_num_steps": 200, "ifactor": 5.0, "dfactor": 0.3, "max_step": 0.4}
TIMES = torch.tensor([0.0, 1.0])


def case():
    lin = nn.Linear(3, 3)

    def f(t, y):
        return torch.tanh(lin(y)) - t * y

    def model(x):
        return (
            odeint(f, x, TIMES, method="dopri5", rtol=1e-4, atol=1e-4, options=CONTROL)[-1],
            odeint(f, x, TIMES, method="rk4", rtol=1e-9, options={"step_size": 0.5, "first_step": 0.1})[-1],
            odeint(f, x, TIMES, rtol=torch.tensor([1e-3]), atol=torch.tensor(1e-3))[-1],
            odeint(lambda t, s: (f(t, s[0]),), (x,), TIMES, rtol=[1e-3], atol=[1e-3])[0][-1],
        )

    return Case(model, (torch.randn(3, 3),))
