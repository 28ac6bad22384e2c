"""A solve in one branch of `if self.training`; the export captures the model in the mode in which it is."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def field(self, t, y):
        return torch.tanh(self.lin(y)) - t * y

    def forward(self, x):
        t = torch.tensor([0.0, 1.0])
        if self.training:
            path = odeint(self.field, x + 0.1 * torch.randn_like(x), t, method="euler", options={"step_size": 0.25})
            return path[-1], (path[-1] - path[0]).square().mean()
        return odeint(self.field, x, t, rtol=1e-4, atol=1e-4)[-1]


def case():
    return Case(Model().train(), (torch.randn(3, 3),))
