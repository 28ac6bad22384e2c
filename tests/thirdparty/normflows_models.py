"""Normalizing flows of the package normflows, which have no solve."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("normflows", "1.7.3 from PyPI", package="normflows")


@SOURCE.case("Real NVP: log-density", forms={"plain": {}})
def real_nvp() -> Trial:
    stub("residual_flows")
    import normflows as nf

    layers: list[Any] = []
    for _ in range(2):
        layers += [nf.flows.AffineCouplingBlock(nf.nets.MLP([1, 8, 2])), nf.flows.Permute(2, mode="swap")]
    flow: Any = nf.NormalizingFlow(nf.distributions.base.DiagGaussian(2), layers).eval()

    def run(x: torch.Tensor) -> torch.Tensor:
        return flow.log_prob(x)

    return Trial(Script(run, flow), (torch.randn(4, 2),), {"x": {0: "batch"}})
