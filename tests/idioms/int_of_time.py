"""`int(t)` as an index into a table of inputs, each of which holds for one unit of time."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Held(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(2, 2)

    def forward(self, y0, control):
        def field(t, y):
            k = min(int(t), control.shape[1] - 1)
            return self.lin(y) + control[:, k]

        return odeint(field, y0, torch.linspace(0.0, 3.0, 4), method="rk4", options={"step_size": 0.25})


def case():
    dynamic = {"y0": {0: "batch"}, "control": {0: "batch"}}
    return Case(Held(), (torch.randn(3, 2), torch.randn(3, 3, 2)), dynamic)
