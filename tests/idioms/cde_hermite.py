"""A neural CDE along Hermite cubics with slopes from backward differences; the step is the smallest gap of knots."""

import torch

from idioms import BATCH, Case
from idioms.cde_linear import LinearPath, NeuralCDE


class HermitePath(LinearPath):
    """Cubics through values (batch, knots, channels); the slope at a knot is that of the line before the knot."""

    def __init__(self, values, knots):
        super().__init__(values, knots)
        gaps = (knots[1:] - knots[:-1]).unsqueeze(-1)
        before = torch.cat([self.slopes[..., :1, :], self.slopes[..., :-1, :]], dim=-2)
        turn = 2 * (self.slopes - before) / gaps
        self.coefficients = before, turn, -turn / (2 * gaps)

    def derivative(self, t):
        past, index = self.piece(t)
        b, c, d = (part[..., index, :] for part in self.coefficients)
        return b + (2 * c + 3 * d * past) * past


class Hermite(NeuralCDE):
    def __init__(self):
        super().__init__(method="rk4")
        self.register_buffer("knots", torch.tensor([0.0, 0.3, 0.5, 1.0]))

    def forward(self, x):
        path = HermitePath(x, self.knots)
        closest = (self.knots[1:] - self.knots[:-1]).min().item()
        return self.along(path, step_size=closest)


def case():
    return Case(Hermite(), (torch.randn(3, 4, 2),), BATCH)
