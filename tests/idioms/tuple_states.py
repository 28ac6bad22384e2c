"""States that are tuples: parts of two shapes, scalar parts, a slope in a list, a single part."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

TIMES = torch.tensor([0.0, 1.0])


def case_of_two_shapes():
    net, aux = nn.Linear(3, 3), nn.Linear(2, 2)

    def model(x, z):
        def field(t, state):
            y, w = state
            return torch.tanh(net(y)) - t * y, torch.tanh(aux(w)) + y.mean()

        y, w = odeint(field, (x, z), torch.linspace(0, 1, 3), rtol=1e-3, atol=1e-3)
        return y.transpose(0, 1), w[-1]

    return Case(model, (torch.randn(3, 3), torch.randn(4, 2)), {"x": {0: "batch"}, "z": {0: "rows"}})


def case_of_scalars():
    """Scalar parts, as in torchdiffeq's bouncing ball and other handwritten mechanics."""

    def model(height, speed):
        def field(t, state):
            return state[1], torch.full_like(state[1], -9.81)

        return odeint(field, (height, speed), torch.linspace(0, 1, 4), rtol=1e-6, atol=1e-8)

    return Case(model, (torch.tensor(10.0), torch.tensor(1.5)), {})


def case_of_lists():
    net = nn.Linear(3, 3)

    def model(x):
        y, total = odeint(lambda t, s: [torch.tanh(net(s[0])), s[0].sum(1)], (x, x[:, 0]), TIMES, method="rk4")
        (alone,) = odeint(lambda t, s: (-s[0] * t,), (x,), TIMES, method="rk4")
        return y, total, alone

    return Case(model, (torch.randn(3, 3),))


def case_of_one_part_whose_slope_is_a_tensor():
    """A state that is a tuple of one, and a slope that is none: torchdiffeq only joins what it gets."""
    net = nn.Linear(3, 3)

    def model(x):
        return odeint(lambda t, s: torch.tanh(net(s[0])) * t, (x,), TIMES)[0][-1]

    return Case(model, (torch.randn(3, 3),))


def case_of_parts_whose_slope_is_a_tensor():
    """Position and speed, with both slopes stacked in one tensor."""

    def model(x, v):
        return odeint(lambda t, s: torch.stack([s[1], -torch.sin(s[0])]), (x, v), TIMES, rtol=1e-4, atol=1e-5)[0][-1]

    return Case(model, (torch.randn(3, 2), torch.randn(3, 2)), {"x": {0: "batch"}, "v": {0: "batch"}})
