"""Conversions of device and dtype: `type_as`, `.to(x)`, `.to(x.device)`, `.float()`, `.double()`, `.type(...)`."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.scale = torch.tensor([1, 2, 3])

    def field(self, t, y):
        t = t.type_as(y).to(y.device)
        wave = torch.sin(t.double()).float() * self.scale.to(y)
        return self.lin(y.type(torch.float32)).to(y.dtype) * wave + torch.zeros(y.shape, device=y.device).to(y)

    def forward(self, x):
        device = next(self.parameters()).device
        x = x.to(device).float()
        t = torch.tensor([0.0, 0.7], device=device).type(x.dtype)
        out = odeint(self.field, x, t.to(x), rtol=1e-3, atol=1e-4)
        return out[-1].cpu().to(torch.float64)


def case():
    return Case(Model(), (torch.randn(3, 3, dtype=torch.float64),))
