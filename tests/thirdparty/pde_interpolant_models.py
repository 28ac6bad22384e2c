"""Trials of anthonyzhou-1/interpolant_pdes: flows of solutions of partial differential equations."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial

SOURCE = Source("anthonyzhou-1/interpolant_pdes", "modules/ at commit 2cd70ed", "interpolant_pdes")


def _net():
    from modules.models.FNO2D import FNO2d

    return FNO2d(
        in_channels=4, out_channels=2, modes1=2, modes2=2, hidden_channels=8, cond_channels=8, cond_dim=1, num_layers=1
    ).eval()


@SOURCE.case("LinearScheduler.sample: a Fourier neural operator, the repository's Heun loop", forms={"plain": {}})
def sample() -> Trial:
    net = _net()
    from modules.diffusion.flow_matching import LinearScheduler

    flow = LinearScheduler(2, 3, "heun")

    def run(x):
        return flow.sample(x, lambda u, t: net(u, t.float()))

    return Trial(Script(run, net), (torch.randn(2, 8, 8, 2),), {"x": {0: "batch"}})


@SOURCE.case("the same operator by torchdiffeq, midpoint")
def solved() -> Trial:
    net = _net()

    def run(x, y):
        def field(t, y):
            return net(torch.cat((x, y), dim=-1), t.expand(x.shape[0]).unsqueeze(-1))

        return odeint(field, y, torch.linspace(1, 0, 3), method="midpoint")[-1]

    return Trial(
        Script(run, net), (torch.randn(2, 8, 8, 2), torch.randn(2, 8, 8, 2)), {"x": {0: "batch"}, "y": {0: "batch"}}
    )
