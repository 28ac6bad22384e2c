"""An SDE solved by torchsde: a module with f and g, its calls of sdeint, and the times."""

import torch
from torch import nn

from idioms import Case

NEEDS = ("torchsde",)


class Sde(nn.Module):
    """A drift and a diffusion that depend on time, for any kind of noise."""

    def __init__(self, noise_type="diagonal", sde_type="ito", channels=2):
        super().__init__()
        self.noise_type, self.sde_type = noise_type, sde_type
        self.channels = {"scalar": 1}.get(noise_type, channels)
        self.drift, self.prior = nn.Linear(3, 3), nn.Linear(3, 3)
        self.spread = nn.Linear(3, 3 if noise_type == "diagonal" else 3 * self.channels)

    def f(self, t, y):
        return torch.tanh(self.drift(y)) * torch.cos(t)

    def g(self, t, y):
        if self.noise_type == "diagonal":
            return 0.1 + 0.2 * torch.sigmoid(self.spread(y))
        return torch.tanh(self.spread(y)).view(-1, 3, self.channels)


def case_default_method():
    import torchsde

    sde = Sde()
    return Case(lambda x: torchsde.sdeint(sde, x, torch.linspace(0, 1, 4), dt=0.1), (torch.randn(4, 3),))


def case_times_as_a_list_and_float64_times():
    import torchsde

    sde, times = Sde("scalar"), torch.linspace(0, 0.5, 3, dtype=torch.float64)
    sde.f = lambda t, y: torch.tanh(sde.drift(y)) * t.float()

    def model(x):
        y = torchsde.sdeint(sde, x, [0.0, 0.2, 0.5], dt=0.1, method="euler")
        return torchsde.sdeint(sde, y[-1], times, dt=0.1, method="euler")

    return Case(model, (torch.randn(4, 3),))


def case_backwards_by_negation():
    import torchsde

    sde = Sde()

    class Reversed(nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, y):
            return -sde.f(-t, y)

        def g(self, t, y):
            return sde.g(-t, y)

    backwards = Reversed()
    times = torch.tensor([-1.0, -0.3, 0.0])
    return Case(lambda x: torchsde.sdeint(backwards, x, times, dt=0.1, method="milstein"), (torch.randn(4, 3),))


def case_in_a_loop():
    import torchsde

    sde = Sde("general", "stratonovich")

    def model(x):
        states = [x]
        for k in range(3):
            times = torch.tensor([k * 0.5, (k + 1) * 0.5])
            states.append(torchsde.sdeint(sde, states[-1], times, dt=0.25, method="midpoint")[-1])
        return torch.stack(states, 1)

    return Case(model, (torch.randn(4, 3),))
