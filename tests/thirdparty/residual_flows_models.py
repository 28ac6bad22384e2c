"""Trials of rtqichen/residual-flows: invertible residual networks with log-determinants, without a solve."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("rtqichen/residual-flows", "resflows/layers/ at commit 8170138", "residual-flows")


def _flow(**more):
    stub("matplotlib", "resflows.datasets")
    import resflows.layers as layers
    import resflows.layers.base as base

    def block(dim):
        nnet = torch.nn.Sequential(
            base.Swish(),
            base.get_linear(dim, 16, coeff=0.9, n_iterations=5, domain=2, codomain=2),
            base.Swish(),
            base.get_linear(16, dim, coeff=0.9, n_iterations=5, domain=2, codomain=2),
        )
        return layers.iResBlock(nnet, **more)

    def flow(dim):
        return layers.SequentialFlow([layers.ActNorm1d(dim), block(dim), layers.ActNorm1d(dim), block(dim)])

    return flow


def _density(flow):
    def run(x):
        z, delta = flow(x, torch.zeros(x.shape[0], 1))
        return -0.5 * (z * z).sum(1, keepdim=True) - delta

    return run


@SOURCE.case("the density in two dimensions: a Jacobian by autograd.grad, its determinant by hand", forms={"plain": {}})
def brute_force() -> Trial:
    flow = _flow()(2)
    flow(torch.randn(32, 2), torch.zeros(32, 1))
    flow.eval()
    return Trial(Script(_density(flow), flow), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("five terms of the power series with an exact trace, as in training", forms={"plain": {}})
def exact_trace() -> Trial:
    flow = _flow(exact_trace=True, n_power_series=5)(3)
    flow(torch.randn(32, 3), torch.zeros(32, 1))
    return Trial(Script(_density(flow), flow), (torch.randn(4, 3),), {"x": {0: "batch"}})


@SOURCE.case("the density in three dimensions: a number of terms drawn by numpy, a random trace", forms={"plain": {}})
def power_series() -> Trial:
    flow = _flow()(3)
    flow(torch.randn(32, 3), torch.zeros(32, 1))
    flow.eval()
    return Trial(Script(_density(flow), flow), (torch.randn(4, 3),), {"x": {0: "batch"}})


@SOURCE.case("the inverse by fixed-point iterations until a tolerance", forms={"plain": {}})
def inverse() -> Trial:
    flow = _flow()(2)
    flow(torch.randn(32, 2), torch.zeros(32, 1))
    flow.eval()

    def run(z):
        return flow.inverse(z)

    return Trial(Script(run, flow), (torch.randn(4, 2),), {"z": {0: "batch"}})
