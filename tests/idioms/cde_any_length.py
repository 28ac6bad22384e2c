"""A neural CDE along series of any length, read at the last observation of each: `lengths` and `gather`."""

import torch
from torchdiffeq import odeint

from idioms import Case
from idioms.cde_linear import LinearPath, NeuralCDE


class ToTheLast(NeuralCDE):
    def forward(self, x, lengths):
        path = LinearPath(x)

        def field(t, z):
            matrix = torch.tanh(self.linear(z)).view(*z.shape[:-1], self.hidden, self.channels)
            return (matrix @ path.derivative(t).unsqueeze(-1)).squeeze(-1)

        z0 = self.initial(path.evaluate(path.knots[0]))
        z = odeint(field, z0, path.knots, options={"jump_t": path.knots}, **self.solve)
        last = (lengths - 1).clamp(min=0, max=x.shape[1] - 1).view(1, -1, 1).expand(1, -1, self.hidden)
        return self.readout(z.gather(0, last).squeeze(0))


def case():
    x, lengths = torch.randn(3, 5, 2), torch.tensor([5, 3, 4])
    return Case(
        ToTheLast(rtol=1e-3, atol=1e-4), (x, lengths), {"x": {0: "batch", 1: "length"}, "lengths": {0: "batch"}}
    )
