"""`odeint` is called by a function of another file, which the file of the model imports."""

import torch
from torch import nn

from idioms import Case
from idioms.solver_in_another_file.integrate import evolve


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 4)
        self.dynamics = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x):
        return evolve(self.dynamics, self.encoder(x), horizon=1.5, points=4)


def case():
    return Case(Model(), (torch.randn(3, 2),))
