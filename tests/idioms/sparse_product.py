"""`torch.sparse.mm` with a constant sparse adjacency matrix: diffusion on a graph."""

import torch
from torch import nn
from torchdiffeq import odeint_adjoint as odeint

from idioms import Case


class Diffusion(nn.Module):
    def __init__(self, nodes=5, dim=3):
        super().__init__()
        row, col = torch.tensor([0, 1, 2, 3, 4, 0, 2]), torch.tensor([1, 2, 3, 4, 0, 3, 1])
        self.adj = torch.sparse_coo_tensor(
            torch.stack([row, col]), torch.rand(7), (nodes, nodes), check_invariants=True
        )
        self.lin = nn.Linear(dim, dim)

    def forward(self, t, x):
        return torch.relu(self.lin(torch.sparse.mm(self.adj, x))) - x


def case():
    field = Diffusion()

    def model(x):
        return odeint(field, x, torch.linspace(0, 1, 3), rtol=1e-3, atol=1e-4)

    return Case(model, (torch.randn(5, 3),), {})
