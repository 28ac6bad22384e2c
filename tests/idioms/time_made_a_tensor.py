"""`t` in tensors: `full`, `fill_`, `as_tensor`, and a test of whether it is a tensor already."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


def case():
    lin = nn.Linear(4, 3)

    def field(t, y):
        t = t if torch.is_tensor(t) else torch.tensor(t)
        column = torch.full((y.shape[0], 1), t.item())
        filled = y.new_zeros(y.shape[0], 1).fill_(1.0) * t + torch.zeros(y.shape[0], 1).fill_(t)
        return lin(torch.cat([y, column], -1)) + filled + y * torch.as_tensor(t).to(y.device, y.dtype)

    return Case(lambda x: odeint(field, x, torch.tensor([0.0, 0.6]), rtol=1e-3, atol=1e-4), (torch.randn(3, 3),))
