"""Continuous flows of stevenygd/PointFlow, built as its get_point_cnf and get_latent_cnf do."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial

SOURCE = Source("stevenygd/PointFlow", "models/ at commit 26e8c26", "PointFlow")


def _flow(*, context: int, conditional: bool) -> torch.nn.Module:
    from models.cnf import CNF, SequentialFlow
    from models.odefunc import ODEfunc, ODEnet

    network = ODEnet((16, 16), (3,), context, layer_type="concatsquash", nonlinearity="tanh")
    layer = CNF(ODEfunc(network), conditional=conditional, T=0.5, train_T=True, solver="dopri5", use_adjoint=True)
    return SequentialFlow([layer]).eval()


@SOURCE.case("point CNF: density of points given a shape's code, context in the state")
def density() -> Trial:
    flow = _flow(context=4, conditional=True)

    def run(x: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, delta = flow(x, z, torch.zeros(x.shape[0], 1).to(x))
        return y, delta

    args = (torch.randn(6, 3), torch.randn(6, 4))
    return Trial(Script(run, flow), args, {"x": {0: "points"}, "z": {0: "points"}})


@SOURCE.case("point CNF in reverse: points from noise")
def points() -> Trial:
    flow = _flow(context=4, conditional=True)

    def run(y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return flow(y, z, reverse=True)

    args = (torch.randn(6, 3), torch.randn(6, 4))
    return Trial(Script(run, flow), args, {"y": {0: "points"}, "z": {0: "points"}})


@SOURCE.case("latent CNF: unconditional")
def latent() -> Trial:
    flow = _flow(context=0, conditional=False)

    def run(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, delta = flow(w, None, torch.zeros(w.shape[0], 1).to(w))
        return y, delta

    return Trial(Script(run, flow), (torch.randn(6, 3),), {"w": {0: "batch"}})
