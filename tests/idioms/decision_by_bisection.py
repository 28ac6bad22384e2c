"""A bisection in Python, inside the field, for the interval of a table of times."""

import torch
from torchdiffeq import odeint

from idioms import Case


class Table:
    def __init__(self, knots):
        self.knots = knots

    def interval(self, t):
        low, high = 0, len(self.knots) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if t < self.knots[middle]:
                high = middle
            else:
                low = middle
        return low

    def at(self, t, values):
        i = self.interval(t)
        share = (t - self.knots[i]) / (self.knots[i + 1] - self.knots[i])
        return values[:, i] * (1 - share) + values[:, i + 1] * share


def case():
    table = Table(torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]))

    def model(y0, values):
        def field(t, y):
            return table.at(t, values).unsqueeze(-1) - y

        return odeint(field, y0, torch.linspace(0, 1, 3), method="rk4", options={"step_size": 0.125})

    dynamic = {"y0": {0: "batch"}, "values": {0: "batch"}}
    return Case(model, (torch.randn(3, 2), torch.randn(3, 5)), dynamic)
