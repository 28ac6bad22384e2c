"""An initial state that is a constant or a parameter of the model; the context is the only input."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

TIMES = torch.tensor([0.0, 1.0])


def case_expanded_over_the_batch():
    net, start = nn.Linear(3, 3), nn.Parameter(torch.randn(1, 3))

    def model(x):
        def field(t, y):
            return torch.tanh(net(y)) - t * y + x

        return odeint(field, start.expand(x.shape[0], -1), TIMES, rtol=1e-3, atol=1e-3)[-1]

    return Case(model, (torch.randn(4, 3),))


def case_without_a_batch():
    start = torch.tensor([1.0, 0.0, -1.0])
    return Case(lambda x: odeint(lambda t, y: -x * y, start, TIMES, rtol=1e-3, atol=1e-3), (torch.rand(3),), {})
