"""Several solves of one field, forwards and backwards, beside another field; a solve in a loop."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, t, y):
        return torch.tanh(self.lin(y)) - t * y


def case_of_different_methods():
    net, other, times = Net(), Net(), torch.tensor([0.0, 1.0])

    def model(x, z):
        a = odeint(net, x, times, rtol=1e-3, atol=1e-3)[-1]
        b = odeint(other, z, torch.tensor([0.0, 0.4, 0.5]), method="rk4")
        c = odeint(net, a + b[-1], times.flip(0), method="bosh3", rtol=1e-3, atol=1e-3)
        return {"mid": b, "end": c[-1], "sum": a + c[0]}

    return Case(model, (torch.randn(3, 3), torch.randn(3, 3)), {"x": {0: "batch"}, "z": {0: "batch"}})


def case_in_a_loop():
    net = Net()

    def model(x):
        steps = [x]
        for k in range(4):
            steps.append(odeint(net, steps[-1], torch.tensor([k * 0.5, (k + 1) * 0.5]), method="rk4")[-1])
        return torch.stack(steps, 1)

    return Case(model, (torch.randn(2, 3),))
