"""A tuple of tensors as one argument, which forward unpacks."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 2)

    def forward(self, state, t):
        position, velocity = state

        def field(_time, s):
            return s[1], self.lin(torch.cat(s, dim=-1)) - s[0]

        position, velocity = odeint(field, (position, velocity), t, rtol=1e-4, atol=1e-5)
        return position, velocity


def case():
    state = torch.randn(3, 2), torch.randn(3, 2)
    dynamic = {"state.0": {0: "batch"}, "state.1": {0: "batch"}, "t": {0: "times"}}
    return Case(Model(), (state, torch.linspace(0, 1, 4)), dynamic)
