"""A neural CDE along a piecewise linear path: `bucketize` finds the interval, and solves restart at the knots."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class LinearPath:
    """The lines through values (batch, knots, channels) at `knots`, by default one unit of time apart."""

    def __init__(self, values, knots=None):
        if knots is None:
            knots = torch.linspace(0, values.size(-2) - 1, values.size(-2), dtype=values.dtype, device=values.device)
        self.knots, self.values = knots, values
        self.slopes = (values[..., 1:, :] - values[..., :-1, :]) / (knots[1:] - knots[:-1]).unsqueeze(-1)

    def piece(self, t):
        index = torch.bucketize(t.detach(), self.knots.detach()).sub(1).clamp(0, self.slopes.size(-2) - 1)
        return t - self.knots[index], index

    def evaluate(self, t):
        past, index = self.piece(t)
        return self.values[..., index, :] + past * self.slopes[..., index, :]

    def derivative(self, t):
        _, index = self.piece(t)
        return self.slopes[..., index, :]


class NeuralCDE(nn.Module):
    """The equation dz = f(z) dX, from a linear map of the first value of the path. solve: arguments of odeint."""

    def __init__(self, channels=2, hidden=4, **solve):
        super().__init__()
        self.channels, self.hidden, self.solve = channels, hidden, solve
        self.initial, self.readout = nn.Linear(channels, hidden), nn.Linear(hidden, 1)
        self.linear = nn.Linear(hidden, hidden * channels)

    def along(self, path, **options):
        def field(t, z):
            matrix = torch.tanh(self.linear(z)).view(*z.shape[:-1], self.hidden, self.channels)
            return (matrix @ path.derivative(t).unsqueeze(-1)).squeeze(-1)

        z0 = self.initial(path.evaluate(path.knots[0]))
        ends = path.knots[[0, -1]]
        return self.readout(odeint(field, z0, ends, options=options, **self.solve)[-1])


class Linear(NeuralCDE):
    def forward(self, x):
        path = LinearPath(x)
        return self.along(path, jump_t=path.knots)


def case():
    return Case(Linear(rtol=1e-3, atol=1e-4), (torch.randn(3, 5, 2),))
