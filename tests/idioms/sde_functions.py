"""The functions that an SDE of torchsde may offer besides f and g, and other names for them."""

import torch
from torch import nn

from idioms import Case
from idioms.sde_of_torchsde import Sde

NEEDS = ("torchsde",)

TIMES = torch.linspace(0, 1, 3)


class Joint(nn.Module):
    """Drift and diffusion by one function."""

    def __init__(self, sde):
        super().__init__()
        self.sde, self.noise_type, self.sde_type = sde, sde.noise_type, sde.sde_type

    def f_and_g(self, t, y):
        return self.sde.f(t, y), self.sde.g(t, y)


class Product(nn.Module):
    """A product of the diffusion with a vector, without the diffusion itself."""

    def __init__(self, sde):
        super().__init__()
        self.sde, self.noise_type, self.sde_type = sde, sde.noise_type, sde.sde_type

    def f(self, t, y):
        return self.sde.f(t, y)

    def g_prod(self, t, y, v):
        return (self.sde.g(t, y) @ v.unsqueeze(-1)).squeeze(-1)


class JointProduct(nn.Module):
    """The drift, and a product of the diffusion with a vector, by one function."""

    def __init__(self, sde):
        super().__init__()
        self.sde, self.noise_type, self.sde_type = sde, sde.noise_type, sde.sde_type

    def f_and_g_prod(self, t, y, v):
        return self.sde.f(t, y), (self.sde.g(t, y) @ v.unsqueeze(-1)).squeeze(-1)


def case_f_and_g():
    import torchsde

    sde = Joint(Sde("general", "stratonovich"))
    return Case(lambda x: torchsde.sdeint(sde, x, TIMES, dt=0.2, method="reversible_heun"), (torch.randn(4, 3),))


def case_g_prod():
    import torchsde

    sde = Product(Sde("general", "stratonovich"))

    def model(x):
        bm = torchsde.BrownianInterval(t0=TIMES[0], t1=TIMES[-1], size=(x.shape[0], 2), dtype=x.dtype)
        return torchsde.sdeint(sde, x, TIMES, dt=0.2, method="midpoint", bm=bm)

    return Case(model, (torch.randn(4, 3),))


def case_f_and_g_prod():
    import torchsde

    sde = JointProduct(Sde("general"))

    def model(x):
        bm = torchsde.BrownianInterval(t0=0.0, t1=1.0, size=(x.shape[0], 2), dtype=x.dtype)
        return torchsde.sdeint(sde, x, TIMES, dt=0.2, bm=bm)

    return Case(model, (torch.randn(4, 3),))


def case_names():
    import torchsde

    sde = Sde()
    sde.pull = lambda t, y: torch.tanh(sde.prior(y)) - y
    sde.push = lambda t, y: sde.g(t, y) * 2
    names = {"drift": "pull", "diffusion": "push"}
    return Case(lambda x: torchsde.sdeint(sde, x, TIMES, dt=0.2, names=names), (torch.randn(4, 3),))
