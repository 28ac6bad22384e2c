"""BatchNorm and Dropout, before the solves and inside the field, in a model that is still in training mode."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 3))

    def forward(self, t, y):
        return self.layers(y) * t


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Net(), Net()])
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        for net in self.blocks:
            x = odeint(net, self.drop(self.norm(x)), torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[-1]
        return x


def case():
    return Case(Model().train(), (torch.randn(3, 3),))
