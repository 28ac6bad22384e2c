"""A Brownian motion that forward makes for its SDE, and steps that follow an error estimate."""

import torch

from idioms import Case
from idioms.sde_of_torchsde import Sde

NEEDS = ("torchsde",)

TIMES = torch.linspace(0, 1, 3)


def case_levy_area():
    import torchsde

    sde = Sde("general", "stratonovich")

    def model(x):
        bm = torchsde.BrownianInterval(
            t0=0.0, t1=1.0, size=(x.shape[0], 2), dtype=x.dtype, levy_area_approximation="davie"
        )
        return torchsde.sdeint(sde, x, TIMES, dt=0.25, method="log_ode", bm=bm)

    return Case(model, (torch.randn(4, 3),))


def case_path_and_tree():
    import torchsde

    sde = Sde()

    def model(x):
        path = torchsde.BrownianPath(t0=0.0, w0=torch.zeros_like(x))
        y = torchsde.sdeint(sde, x, TIMES, dt=0.25, method="euler", bm=path)[-1]
        tree = torchsde.BrownianTree(t0=0.0, w0=torch.zeros_like(x), t1=1.0)
        return torchsde.sdeint(sde, y, TIMES, dt=0.25, method="milstein", options={"grad_free": True}, bm=tree)

    return Case(model, (torch.randn(4, 3),))


def case_diffusion_that_nothing_changes():
    """The reversible Heun method remembers the diffusion, which no step computes anew here."""
    import torchsde

    sde = Sde("additive", "stratonovich")
    sde.g = lambda t, y: sde.spread.weight.view(3, 2, 3)[..., 0].expand(y.shape[0], 3, 2)
    settings = {"dt": 0.25, "method": "reversible_heun"}
    return Case(lambda x: torchsde.sdeint(sde, x, TIMES, **settings), (torch.randn(4, 3),))


def case_one_motion_for_two_solves():
    """Euler's and Roessler's solutions along one path, whose difference is small; then a solve after the first two."""
    import torchsde

    sde = Sde()

    def model(x):
        bm = torchsde.BrownianInterval(0.0, 2.0, size=tuple(x.shape), levy_area_approximation="space-time")
        coarse = torchsde.sdeint(sde, x, TIMES, dt=0.25, method="euler", bm=bm)[-1]
        fine = torchsde.sdeint(sde, x, TIMES, dt=0.25, method="srk", bm=bm)[-1]
        later = torchsde.sdeint(sde, fine, TIMES + 1.0, dt=0.25, method="euler", bm=bm)[-1]
        return fine - coarse, later

    return Case(model, (torch.randn(4, 3),))
