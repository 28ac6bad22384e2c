"""`if t < t_dose` inside the field: an infusion that starts and ends."""

import torch
from torchdiffeq import odeint

from idioms import BATCH, Case


def case():
    def model(x, dose):
        def field(t, amount):
            rate = -0.7 * amount
            if t < 0.3:
                return rate
            elif 0.3 <= t <= 0.6:
                return rate + dose
            return rate * 0.5

        t = torch.linspace(0, 1, 4)
        return odeint(field, x, t, method="rk4", options={"step_size": 0.125})

    return Case(model, (torch.rand(3, 2), torch.rand(3, 1)), BATCH | {"dose": {0: "batch"}})
