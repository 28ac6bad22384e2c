"""Boltzmann generators of noegroup/bgflow, with numpy.infty, which it asks for and NumPy 2 lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("noegroup/bgflow", "bgflow/nn/flow/ at commit fbba56f", "bgflow")


@SOURCE.case("DiffEqFlow with equivariant kernels: the inverse with its density")
def kernel() -> Trial:
    vars(np)["infty"] = np.inf
    stub("xtb", "openmm", "mdtraj")
    from bgflow.nn.flow.diffeq import DiffEqFlow
    from bgflow.nn.flow.dynamics import KernelDynamics

    dynamics = KernelDynamics(
        4,
        2,
        torch.linspace(0, 4, 6),
        torch.ones(6) * 0.3,
        torch.linspace(0, 1, 3),
        torch.ones(3) * 0.3,
        optimize_d_gammas=True,
        optimize_t_gammas=True,
    )
    flow: Any = DiffEqFlow(dynamics, atol=1e-5)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return flow(x, inverse=True)

    return Trial(Script(run, flow), (torch.randn(4, 8),), {"x": {0: "batch"}})
