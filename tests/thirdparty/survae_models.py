"""Trials of didriknielsen/survae_flows: couplings, splines and surjections, without a solve."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("didriknielsen/survae_flows", "survae/ at commit 271a31d", "survae_flows")


def _net(i, o):
    from survae.nn.layers import ElementwiseParams

    return torch.nn.Sequential(
        torch.nn.Linear(i, 16), torch.nn.ReLU(), torch.nn.Linear(16, i * o), ElementwiseParams(o)
    )


def _flow(*transforms):
    from survae.distributions import StandardNormal
    from survae.flows import Flow

    flow = Flow(base_dist=StandardNormal((2,)), transforms=list(transforms))
    flow.log_prob(torch.randn(16, 2))
    return flow.eval()


def _trial(flow):
    def run(x):
        return flow.log_prob(x)

    return Trial(Script(run, flow), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("affine couplings with activation norms: the log-density", forms={"plain": {}})
def affine() -> Trial:
    stub("torchvision.utils", "torchvision.transforms", "skimage", "sklearn")
    from survae.transforms import ActNormBijection, AffineCouplingBijection, Reverse

    return _trial(
        _flow(AffineCouplingBijection(_net(1, 2)), ActNormBijection(2), Reverse(2), AffineCouplingBijection(_net(1, 2)))
    )


@SOURCE.case("rational-quadratic spline couplings: boolean masks and searchsorted", forms={"plain": {}})
def splines() -> Trial:
    stub("torchvision.utils", "torchvision.transforms", "skimage", "sklearn")
    from survae.transforms import Logit, RationalQuadraticSplineCouplingBijection, Reverse, Sigmoid

    return _trial(
        _flow(
            Sigmoid(),
            RationalQuadraticSplineCouplingBijection(_net(1, 13), num_bins=4),
            Reverse(2),
            RationalQuadraticSplineCouplingBijection(_net(1, 13), num_bins=4),
            Logit(),
        )
    )


@SOURCE.case("an absolute-value surjection, samples from given noise", forms={"plain": {}})
def surjection() -> Trial:
    stub("torchvision.utils", "torchvision.transforms", "skimage", "sklearn")
    from survae.transforms import AffineCouplingBijection, Reverse, SimpleAbsSurjection

    return _trial(
        _flow(
            SimpleAbsSurjection(), AffineCouplingBijection(_net(1, 2)), Reverse(2), AffineCouplingBijection(_net(1, 2))
        )
    )
