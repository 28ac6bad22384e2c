"""`odeint` as an attribute of the class, as an attribute of the object, and as an argument."""

import torch
from torch import nn
from torchdiffeq import odeint, odeint_adjoint

from idioms import Case


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, t, y):
        return torch.tanh(self.lin(y)) - t * y


class Model(nn.Module):
    odeint = staticmethod(odeint_adjoint)

    def __init__(self):
        super().__init__()
        self.net = Net()
        self.solver = odeint

    def forward(self, x, solver):
        t = torch.tensor([0.0, 1.0])
        y = self.solver(self.net, x, t, method="rk4")[-1]
        y = solver(self.net, y, t, method="heun2", options={"step_size": 0.5})[-1]
        return self.odeint(self.net, y, t, rtol=1e-3, atol=1e-3)[-1]


def case():
    return Case(Model(), (torch.randn(2, 3), odeint_adjoint))
