"""Normalizing flows of the package nflows, which have no solve."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial

SOURCE = Source("nflows", "0.14 from PyPI", package="nflows")


@SOURCE.case("affine coupling, permutation and LU layer: samples from noise", forms={"plain": {}})
def coupling() -> Trial:
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import ResidualNet

    def network(inputs: int, outputs: int) -> torch.nn.Module:
        return ResidualNet(inputs, outputs, hidden_features=8, num_blocks=1)

    layers = [
        transforms.ReversePermutation(4),
        transforms.AffineCouplingTransform(torch.tensor([1, 0, 1, 0]), network),
        transforms.LULinear(4),
    ]
    flow: Any = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([4])).eval()

    def run(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return flow._transform.inverse(z)

    return Trial(Script(run, flow), (torch.randn(4, 4),), {"z": {0: "batch"}})
