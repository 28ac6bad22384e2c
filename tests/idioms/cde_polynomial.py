"""A neural controlled equation, dz = f(z) dX, whose path is a polynomial in time."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Controlled(nn.Module):
    def __init__(self, channels=2, hidden=4):
        super().__init__()
        self.channels, self.hidden = channels, hidden
        self.initial = nn.Linear(channels, hidden)
        self.linear = nn.Linear(hidden, hidden * channels)
        self.readout = nn.Linear(hidden, 1)

    def forward(self, a, b):
        def field(t, z):
            velocity = b + 2 * t * a
            matrix = torch.tanh(self.linear(z)).view(*z.shape[:-1], self.hidden, self.channels)
            return torch.matmul(matrix, velocity.unsqueeze(-1)).squeeze(-1)

        z = odeint(field, self.initial(b), torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)
        return self.readout(z[-1])


def case():
    return Case(Controlled(), (torch.randn(3, 2), torch.randn(3, 2)), {"a": {0: "batch"}, "b": {0: "batch"}})
