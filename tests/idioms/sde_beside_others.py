"""An SDE beside an ODE solve and a fixed point in one model, and an SDE as the solver of a neural CDE."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case
from idioms.sde_of_torchsde import Sde
from odelet_export import mark

NEEDS = ("torchsde", "torchcde")

TIMES = torch.linspace(0, 1, 3)


def case_ode_and_mark():
    import torchsde

    sde, lin = Sde(), nn.Linear(3, 3)

    def model(x):
        start = odeint(lambda t, y: torch.tanh(lin(y)), x, TIMES, method="rk4")[-1]
        end = torchsde.sdeint(sde, start, TIMES, dt=0.2)[-1]
        return mark(lambda z: 0.3 * torch.tanh(lin(z)) + end, end)

    return Case(model, (torch.randn(4, 3),))


class CdeField(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 12)

    def forward(self, t, z):
        return self.lin(z).tanh().view(-1, 4, 3)


class NeuralCde(nn.Module):
    def __init__(self):
        super().__init__()
        self.field, self.initial, self.readout = CdeField(), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, coeffs):
        import torchcde

        control = torchcde.LinearInterpolation(coeffs)
        z0 = self.initial(control.evaluate(control.interval[0]))
        z = torchcde.cdeint(
            X=control, func=self.field, z0=z0, t=control.interval, backend="torchsde", dt=1.0, method="midpoint"
        )
        return self.readout(z[:, -1])


def case_torchcde():
    return Case(NeuralCde(), (torch.randn(4, 6, 3).cumsum(1),), {"coeffs": {0: "batch"}})
