"""Fields that use `view` and `transpose` on the state, and a state whose second axis is the batch."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


def case_viewed():
    def model(x):
        def field(t, y):
            return y.view(-1, 3).flip(-1).view(y.shape) * 0.1

        state = x.transpose(0, 1).contiguous()
        return odeint(field, state, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]

    return Case(model, (torch.randn(3, 5),), {"x": {1: "batch"}})


class BatchSecond(nn.Module):
    def __init__(self, hidden=4):
        super().__init__()
        self.lin = nn.Linear(hidden, hidden)

    def forward(self, h0):
        def field(t, h):
            return torch.tanh(self.lin(h)) - h

        return odeint(field, h0, torch.tensor([0.0, 0.3, 1.0]), method="bosh3", rtol=1e-3, atol=1e-4)[1:]


def case_batch_second():
    return Case(BatchSecond(), (torch.randn(2, 3, 4),), {"h0": {1: "batch"}})
