"""Unbalanced transport of cells with TIGON, yutongo/TIGON: velocity, growth and density."""

from __future__ import annotations

from typing import Any

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, stub

SOURCE = Source("yutongo/TIGON", "utility.py at commit 1ed92cf", "TIGON")


@SOURCE.case("UOT: exact trace by autograd, tuple state, backwards in time")
def uot() -> Trial:
    stub("TorchDiffEqPack", "seaborn")
    from utility import UOT

    field: Any = UOT(in_out_dim=3, hidden_dim=8, n_hiddens=2, activation="Tanh")

    def run(z: torch.Tensor, g: torch.Tensor, logp: torch.Tensor) -> tuple[torch.Tensor, ...]:
        times = torch.tensor([1.0, 0.0])
        states = odeint(field, (z, g, logp), times, method="midpoint", options={"step_size": 0.1})
        return tuple(state[-1] for state in states)

    args = (torch.randn(4, 3), torch.zeros(4, 1), torch.zeros(4, 1))
    return Trial(Script(run, field), args, {name: {0: "cells"} for name in ("z", "g", "logp")})
