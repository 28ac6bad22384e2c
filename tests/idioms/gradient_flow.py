"""Energy descent by `backward()` inside the field, with logsumexp, norm and amax in the energy."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class GradientFlow(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 5))

    def forward(self, x):
        def descend(t, y):
            with torch.enable_grad():
                y = y.detach().requires_grad_(True)
                energy = (y @ self.w).logsumexp(-1).sum() + y.norm(dim=-1).sum() + (y @ self.w).amax(-1).sum()
                energy.backward()
            return -y.grad

        return odeint(descend, x, torch.tensor([0.0, 0.2]), method="heun3", options={"step_size": 0.1})[-1]


def case():
    return Case(GradientFlow(), (torch.randn(3, 3),))
