"""The graph ODE of tsinghua-fib-lab/Bi-Dynamic-Graph-ODE-for-Opinion-Evolution."""

from __future__ import annotations

import torch
from trial import Source, Trial

NAME = "Bi-Dynamic-Graph-ODE-for-Opinion-Evolution"
SOURCE = Source(f"tsinghua-fib-lab/{NAME}", "neural_dynamics.py at commit bb30e81", NAME)


def _graph() -> torch.Tensor:
    edges = (torch.rand(6, 6) > 0.5).float()
    return edges / edges.sum(1, keepdim=True).clamp(min=1)


@SOURCE.case("BDG_ODE: sparse adjacency, starts as parameters, given times")
def sparse() -> Trial:
    from neural_dynamics import BDG_ODE

    model = BDG_ODE(1, 8, _graph().to_sparse(), 1, 6).eval()
    return Trial(model, (torch.linspace(0, 1, 5),), {"vt": {0: "times"}})


@SOURCE.case("BDG_ODE: dense adjacency, rk4")
def dense() -> Trial:
    from neural_dynamics import BDG_ODE

    return Trial(BDG_ODE(1, 8, _graph(), 1, 6, method="rk4").eval(), (torch.linspace(0, 1, 5),), {"vt": {0: "times"}})
