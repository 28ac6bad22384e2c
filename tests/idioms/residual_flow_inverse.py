"""The inverse of an invertible residual flow: each block y = x + g(x) is inverted by a fixed-point iteration."""

import torch
from torch import nn

from idioms import Case
from odelet_export import mark

FORMS = ("rolled", "adaptive", "driven")


def shortening(layer: nn.Linear) -> nn.Linear:
    """The layer with weights that increase no distance, as after spectral normalization."""
    with torch.no_grad():
        layer.weight /= torch.linalg.matrix_norm(layer.weight, 2)
    return layer


class Block(nn.Module):
    """The block y = x + g(x), where g reduces each distance to at most 0.7 of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = shortening(nn.Linear(width, 16))
        self.second = shortening(nn.Linear(16, width))

    def residual(self, x):
        return 0.7 * self.second(nn.functional.elu(self.first(x)))

    def forward(self, x):
        return x + self.residual(x)

    def inverse(self, y, tolerance=1e-5):
        """The x with x + g(x) = y, from x = y until each squared change is below tolerance * (1 + |y|)."""

        def worst(change):
            return (change * change / (tolerance * (1 + y.abs()))).max()

        # The iteration stops once `worst` is below 1.
        return mark(lambda x: y - self.residual(x), y, norm=worst, rtol=0.0, atol=1.0, max_iters=100)


class Sampler(nn.Module):
    """A map of noise to samples: the inverses of all blocks, the last block first."""

    def __init__(self, width: int = 2, depth: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, noise):
        x = noise
        for block in reversed(self.blocks):
            x = block.inverse(x)
        return x


def case() -> Case:
    """The case in float32, the usual dtype of such flows."""
    torch.manual_seed(1)
    model = Sampler().eval()
    return Case(model, (torch.randn(5, 2),), {"noise": {0: "batch"}})
