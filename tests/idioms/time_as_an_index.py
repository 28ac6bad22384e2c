"""A table whose row is chosen by the time, as an integer tensor."""

import torch
from torchdiffeq import odeint

from idioms import Case


def case():
    table = torch.randn(5, 3)

    def field(t, y):
        row = (t * 4).long()
        return y * table[torch.clamp(row, 0, 4)] + table.index_select(0, row[None])

    options = {"step_size": 0.15}
    return Case(
        lambda x: odeint(field, x, torch.linspace(0, 0.9, 3), method="rk4", options=options), (torch.randn(3, 3),)
    )
