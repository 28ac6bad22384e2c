"""Times that are constants, written in every way, forwards and backwards, many or one."""

import numpy as np
import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

GRID, WHOLE = np.linspace(0, 1, 4), torch.tensor([0, 1])


def case_of_fixed_steps():
    lin = nn.Linear(3, 3)

    def model(x):
        every = (
            torch.linspace(0, 1, 5),
            torch.stack([torch.tensor(0.0), torch.tensor(0.7)]),
            x.new_tensor([0.0, 0.5, 0.75]),
            torch.from_numpy(GRID).to(x),
            WHOLE.type_as(x),
        )
        paths = [odeint(lambda t, y: torch.tanh(lin(y)) * torch.cos(t), x, times, method="rk4") for times in every]
        backwards = torch.arange(4.0, 0.0, -1.0) / 4
        paths += [odeint(lambda t, y: lin(y) * t, x, backwards, method="rk4", options={"step_size": 0.1})]
        irregular = torch.tensor([0.0, 0.1, 0.15, 0.9])
        paths += [odeint(lambda t, y: lin(y) * t, x, irregular, method="heun3", options={"step_size": 0.2})]
        return tuple(paths)

    return Case(model, (torch.randn(3, 3),))


def case_of_one_time():
    return Case(lambda x: odeint(lambda t, y: -y * t, x, torch.tensor([0.5])), (torch.randn(3, 3),))
