"""Trials of LarsKue/context-aware-flow-matching: sets of points, pooled by the largest values, moved by a flow."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial

SOURCE = Source(
    "LarsKue/context-aware-flow-matching",
    "src/models/, src/integrators/ at commit 9ca6d79",
    "context-aware-flow-matching",
)


def _parts():
    import sys
    import types
    from pathlib import Path

    for name in ("src", "src.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(sys.path[0]) / name.replace(".", "/"))]
        sys.modules[name] = package
    from src.models import pools
    from src.models.skip_connection import ResidualBlock, SkipLinear

    encoder = torch.nn.Sequential(
        torch.nn.Linear(3, 16),
        torch.nn.SELU(),
        ResidualBlock(16, 2),
        SkipLinear(16),
        pools.TopK(k=8, dim=1),
        torch.nn.LayerNorm(16),
        ResidualBlock(16, 1),
        pools.TopK(k=4, dim=1),
        pools.Mean(dim=1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 8),
    )
    flow = torch.nn.Sequential(
        torch.nn.Linear(3 + 8 + 1, 16), torch.nn.SELU(), ResidualBlock(16, 2), torch.nn.Linear(16, 3)
    )
    return encoder.eval(), flow.eval()


def _velocity(flow):
    def velocity(x, t, embedding):
        n = x.shape[1]
        t = t if isinstance(t, torch.Tensor) else torch.full((x.shape[0],), t)
        return flow(torch.cat([x, t[:, None, None].expand(-1, n, 1), embedding[:, None].expand(-1, n, -1)], dim=2))

    return velocity


DYNAMIC = {"points": {0: "batch", 1: "points"}, "noise": {0: "batch", 1: "set"}}


@SOURCE.case(
    "a set embedded by top-k pooling and reconstructed by the repository's Runge-Kutta loop", forms={"plain": {}}
)
def own_loop() -> Trial:
    encoder, flow = _parts()
    from src.integrators import RK45

    def run(points, noise):
        return RK45(_velocity(flow), steps=3).solve(noise, encoder(points))

    return Trial(Script(run, encoder, flow), (torch.randn(2, 12, 3), torch.randn(2, 10, 3)), DYNAMIC)


@SOURCE.case("the same by torchdiffeq, dopri5; both numbers of points free")
def solved() -> Trial:
    encoder, flow = _parts()
    velocity = _velocity(flow)

    def run(points, noise):
        embedding = encoder(points)
        return odeint(
            lambda t, x: velocity(x, t.expand(x.shape[0]), embedding),
            noise,
            torch.tensor([0.0, 1.0]),
            atol=1e-5,
            rtol=1e-5,
        )[-1]

    return Trial(Script(run, encoder, flow), (torch.randn(2, 12, 3), torch.randn(2, 10, 3)), DYNAMIC)
