"""An SDE whose steps follow an error estimate, which the runtime alone can take."""

import torch

from idioms import Case
from idioms.sde_of_torchsde import Sde

NEEDS = ("torchsde",)

FORMS = ()


def case():
    import torchsde

    sde, times = Sde(), torch.linspace(0, 1, 3)
    settings = {"dt": 0.1, "adaptive": True, "rtol": 1e-2, "atol": 1e-2}
    return Case(lambda x: torchsde.sdeint(sde, x, times, **settings), (torch.randn(4, 3),))
