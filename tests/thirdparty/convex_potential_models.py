"""Trials of CW-Huang/CP-Flow: gradients of convex networks, with Hessians for the log-determinant, without a solve."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("CW-Huang/CP-Flow", "lib/ at commit d01303c", "CP-Flow")


def _flow(**more):
    stub("matplotlib", "h5py", "pandas", "data", "torchvision")
    from lib.flows import ActNorm, DeepConvexFlow, SequentialFlow
    from lib.icnn import ICNN3

    icnn = ICNN3(2, 8, 2, symm_act_first=True, softplus_type="gaussian_softplus", zero_softplus=True)
    flow = SequentialFlow([ActNorm(2), DeepConvexFlow(icnn, 2, **more), ActNorm(2)])
    flow.forward_transform(torch.randn(16, 2))
    return flow.eval()


@SOURCE.case("the density with the whole Hessian: gradients of gradients, slogdet", forms={"plain": {}})
def bruteforce() -> Trial:
    flow = _flow(unbiased=False, no_bruteforce=False)

    def run(x):
        return flow.logp(x)

    return Trial(Script(run, flow), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("the density by Lanczos quadrature with random vectors", forms={"plain": {}})
def lanczos() -> Trial:
    flow = _flow(unbiased=False, no_bruteforce=True)

    def run(x):
        return flow.logp(x)

    return Trial(Script(run, flow), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("the map itself, a gradient", forms={"plain": {}})
def gradient() -> Trial:
    flow = _flow(unbiased=False, no_bruteforce=False)

    def run(x):
        return flow.flows[1](x) if hasattr(flow, "flows") else flow[1](x)

    return Trial(Script(run, flow), (torch.randn(4, 2),), {"x": {0: "batch"}})
