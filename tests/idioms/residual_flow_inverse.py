"""The inverse of an invertible residual flow: each block y = x + g(x) is turned round by a fixed-point iteration."""

import torch
from torch import nn

from idioms import Case
from odelet_export import mark

FORMS = ("rolled", "adaptive", "driven")


def shortening(layer: nn.Linear) -> nn.Linear:
    """The layer with weights that make no distance longer, as spectral normalization leaves them."""
    with torch.no_grad():
        layer.weight /= torch.linalg.matrix_norm(layer.weight, 2)
    return layer


class Block(nn.Module):
    """y = x + g(x), where g shortens distances to 0.7 of what they were at most."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = shortening(nn.Linear(width, 16))
        self.second = shortening(nn.Linear(16, width))

    def residual(self, x):
        return 0.7 * self.second(nn.functional.elu(self.first(x)))

    def forward(self, x):
        return x + self.residual(x)

    def inverse(self, y, tolerance=1e-5):
        """x with x + g(x) = y, from x = y until every squared change is below tolerance * (1 + |y|)."""

        def worst(change):
            return (change * change / (tolerance * (1 + y.abs()))).max()

        # `worst` is below 1 where that holds.
        return mark(lambda x: y - self.residual(x), y, norm=worst, rtol=0.0, atol=1.0, max_iters=100)


class Sampler(nn.Module):
    """Noise to samples: the inverses of all blocks, the last first."""

    def __init__(self, width: int = 2, depth: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, noise):
        x = noise
        for block in reversed(self.blocks):
            x = block.inverse(x)
        return x


def case() -> Case:
    """Float32, as such flows are."""
    torch.manual_seed(1)
    model = Sampler().eval()
    return Case(model, (torch.randn(5, 2),), {"noise": {0: "batch"}})
