"""An SDE at times that are an input, of any number, with steps that follow an error estimate."""

import torch

from idioms import Case
from idioms.sde_of_torchsde import Sde

NEEDS = ("torchsde",)

FORMS = ()


def case():
    import torchsde

    sde = Sde("additive")
    sde.g = lambda t, y: (sde.spread.weight.view(3, 2, 3)[..., 0] * (1 + t)).expand(y.shape[0], 3, 2)
    settings = {"dt": 0.1, "adaptive": True, "rtol": 1e-1, "atol": 1e-1, "method": "euler"}

    def model(x, times):
        return torchsde.sdeint(sde, x, times, **settings)

    return Case(model, (torch.randn(4, 3), torch.linspace(0, 1, 4)), {"x": {0: "batch"}, "times": {0: "times"}})
