"""A field that keeps what it was called with, or a number that grows from call to call: the calls are in the graph."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

FORMS = ()


class Visited(nn.Module):
    """The states of all calls of the field, joined after the solve, as in graph networks that propagate by an ODE."""

    def __init__(self):
        super().__init__()
        self.net, self.out = nn.Linear(3, 3), nn.Linear(15, 2)
        self.visited = []
        self.times = torch.tensor([0, 1.0])

    def field(self, t, x):
        self.visited.append(x)
        return torch.tanh(self.net(x)) - x

    def forward(self, x):
        end = odeint(self.field, x, self.times.type_as(x), method="euler", options={"step_size": 0.25})[-1]
        visited, self.visited = self.visited, []
        return self.out(torch.cat([*visited, end], dim=1))


class Growing(nn.Module):
    """A dilation that doubles from call to call, and a solve inside the field."""

    def __init__(self):
        super().__init__()
        self.inner, self.weight = nn.Linear(8, 8), nn.Parameter(torch.randn(1, 1, 2))
        self.dilation = 1

    def field(self, t, x):
        x = torch.conv1d(nn.functional.pad(x, (self.dilation, 0)), self.weight, dilation=self.dilation)
        self.dilation *= 2
        inner = odeint(lambda s, y: torch.tanh(self.inner(y)), x, torch.tensor([0.0, 1.0]), method="rk4")
        return inner[-1]

    def forward(self, x):
        times = torch.linspace(0, 1, 4)
        path = odeint(self.field, x.unsqueeze(1), times, method="euler")
        self.dilation = 1
        return path[-1].squeeze(1)


class Momentum(nn.Module):
    """The slope of the last call, mixed into the next; a plain solve follows."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)
        self.last = None

    def field(self, t, x):
        slope = self.net(x) * t
        if self.last is not None:
            slope = 0.3 * self.last + 0.7 * slope
        self.last = slope
        return slope

    def forward(self, x):
        self.last = None
        middle = odeint(self.field, x, torch.tensor([0.0, 0.5, 1.0]), method="midpoint")[-1]
        return odeint(lambda t, y: -torch.tanh(self.net(y)), middle, torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-5)


def case_visited_states():
    return Case(Visited(), (torch.randn(4, 3),))


def case_growing_dilation():
    return Case(Growing(), (torch.randn(2, 8),))


def case_momentum():
    return Case(Momentum(), (torch.randn(4, 3),))
