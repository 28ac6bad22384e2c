"""Continuous flows on manifolds, CUAI/Neural-Manifold-Ordinary-Differential-Equations."""

from __future__ import annotations

import torch
from trial import Source, Trial

SOURCE = Source(
    "CUAI/Neural-Manifold-Ordinary-Differential-Equations",
    "flows/ at commit c94bbd7",
    "Neural-Manifold-Ordinary-Differential-Equations",
)


@SOURCE.case("HCNF: the hyperbolic plane in one chart, density by the exact trace")
def hyperbolic() -> Trial:
    from flows.mcnf import HCNF

    x = torch.randn(4, 2)
    on_hyperboloid = torch.cat([torch.sqrt(1 + (x**2).sum(-1, keepdim=True)), x], -1)
    return Trial(HCNF(2, 8, 1).eval(), (on_hyperboloid,), {"z": {0: "batch"}})
