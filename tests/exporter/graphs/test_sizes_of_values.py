"""Sizes that depend on values differ in each copy of a field, so that no name in the graph may say that they agree."""

import numpy as np
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet_export import export


class Experts(nn.Module):
    """A field that sends each row to one of some networks, by masks."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def field(self, t, x):
        best, out = self.gate(x).argmax(-1), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mask = best == number
            out[mask] = 5 * expert(x[mask])
        return out

    def forward(self, x):
        return odeint(self.field, x, torch.tensor([0.0, 0.5, 1.0]), method="rk4")[-1]


def test_rows_may_be_chosen_by_masks_in_a_field(tmp_path):
    model = Experts()
    export(model, (torch.randn(6, 4),), tmp_path / "out", dynamic={"x": {0: "b"}}, samples=2)
    loaded = odelet.load(tmp_path / "out")
    for rows in (1, 4, 9):
        x = 3 * torch.randn(rows, 4)
        with torch.no_grad():
            wanted = model(x).numpy()
        np.testing.assert_allclose(loaded(x.numpy()), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
