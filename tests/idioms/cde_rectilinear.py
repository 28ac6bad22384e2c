"""A neural CDE along a rectilinear path: first the time advances while the values stay, then the values change."""

import torch

from idioms import Case
from idioms.cde_linear import LinearPath, NeuralCDE


def staircase(x, *, time):
    """The rectilinear path (batch, 2 knots - 1, channels) of values (batch, knots, channels). time: its channel."""
    doubled = x.repeat_interleave(2, dim=1)
    held = doubled[:, :-1].clone()
    held[..., time] = doubled[:, 1:, time]
    return held


class Rectilinear(NeuralCDE):
    def forward(self, x):
        path = LinearPath(staircase(x, time=0))
        return self.along(path, jump_t=path.knots)


def case():
    times = torch.linspace(0, 1, 4).expand(3, 4)
    x = torch.cat([times.unsqueeze(-1), torch.randn(3, 4, 2)], dim=-1)
    return Case(Rectilinear(channels=3, method="dopri5", rtol=1e-3, atol=1e-4), (x,))
