"""Trials of EmoryMLIP/OT-Flow: a potential with a gradient and a Laplacian in closed form, and loops of its own."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial

SOURCE = Source("EmoryMLIP/OT-Flow", "src/ at commit 4d66618", "OT-Flow")


def _net():
    from src.Phi import Phi

    return Phi(nTh=3, m=8, d=2)


@SOURCE.case("integrate: the authors' own Runge-Kutta loop, in place", forms={"plain": {}})
def integrate() -> Trial:
    from src.OTFlowProblem import integrate

    net = _net()

    def run(x):
        return integrate(x, net, [0.0, 1.0], 3)

    return Trial(Script(run, net), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("trajectories kept in a tensor that is filled step by step", forms={"plain": {}})
def trajectories() -> Trial:
    from src.OTFlowProblem import integrate

    net = _net()

    def run(x):
        return integrate(x, net, [0.0, 1.0], 3, intermediates=True)

    return Trial(Script(run, net), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("the objective: likelihood and transport costs", forms={"plain": {}})
def objective() -> Trial:
    from src.OTFlowProblem import OTFlowProblem

    net = _net()

    def run(x):
        return OTFlowProblem(x, net, [0.0, 1.0], 3)

    return Trial(Script(run, net), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("odefun by torchdiffeq: the time becomes a number for torch's pad")
def solved() -> Trial:
    from src.OTFlowProblem import odefun

    net = _net()

    def run(x):
        z = torch.nn.functional.pad(x, (0, 3))
        return odeint(lambda t, y: odefun(y, t.item(), net), z, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    return Trial(Script(run, net), (torch.randn(4, 2),), {"x": {0: "batch"}})
