"""A deep equilibrium layer: its output is the fixed point of a layer, found by Anderson's method."""

import torch
from torch import nn

from idioms import BATCH, Case
from odelet_export import mark

FORMS = ("rolled", "adaptive", "driven")


def shortening(layer: nn.Linear) -> nn.Linear:
    """The layer with weights that increase no distance, as after spectral normalization."""
    with torch.no_grad():
        layer.weight /= torch.linalg.matrix_norm(layer.weight, 2)
    return layer


class Equilibrium(nn.Module):
    """The fixed point of a residual block that reads its input in every turn; the state is a tuple. With weights that
    increase distances there may be no fixed point."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inject = nn.Linear(width, hidden)
        self.inner = shortening(nn.Linear(hidden, 2 * hidden))
        self.outer = shortening(nn.Linear(2 * hidden, hidden))
        self.gate = shortening(nn.Linear(hidden, 1))

    def forward(self, x):
        injected = self.inject(x)

        def layer(state):
            z, level = state
            change = self.outer(torch.relu(self.inner(z)))
            return injected + (0.6 + 0.2 * level) * change, torch.tanh(self.gate(z))

        start = torch.zeros_like(injected), torch.zeros_like(x[:, :1])
        z, _ = mark(layer, start, method="anderson", rtol=1e-5, atol=1e-6, max_iters=40, per_sample=True)
        return z


class Classifier(nn.Module):
    """An encoder, an equilibrium layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 8)
        self.core = Equilibrium(8, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.core(torch.tanh(self.encode(x))))


def case() -> Case:
    """The case in float64, so that the numbers of turns are compared too."""
    torch.manual_seed(0)
    return Case(Classifier().double().eval(), (torch.randn(4, 6, dtype=torch.float64),), BATCH)
