"""Schroedinger bridges with growth by zhenyiizhang/DeepRUOT: trajectories and their energy."""

from __future__ import annotations

from typing import Any

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial

SOURCE = Source("zhenyiizhang/DeepRUOT", "DeepRUOT/models.py at commit 2289c81", "DeepRUOT")


@SOURCE.case("ODEFunc2: velocity and growth, Euler from one time of the data to the next")
def trajectory() -> Trial:
    from DeepRUOT.models import FNet, ODEFunc2

    field: Any = ODEFunc2(FNet(2, 8, 2, "leakyrelu"))

    def run(x0: torch.Tensor) -> torch.Tensor:
        weights = torch.log(torch.ones(x0.shape[0], 1) / x0.shape[0]).float()
        trajectory, times = [x0], (0.0, 0.5, 1.0)
        for start, end in zip(times, times[1:], strict=False):
            between = torch.Tensor([start, end]).float()
            x, _ = odeint(field, (trajectory[-1], weights), between, options={"step_size": 0.1}, method="euler")
            trajectory.append(x[-1].detach())
        return torch.stack(trajectory)

    return Trial(Script(run, field), (torch.randn(4, 2),), {"x0": {0: "cells"}})


@SOURCE.case("ODEFunc3: the energy, with the gradient of a score network")
def energy() -> Trial:
    from DeepRUOT.models import FNet, ODEFunc3, scoreNet2

    field: Any = ODEFunc3(FNet(2, 8, 2, "leakyrelu"), scoreNet2(2, 8, "leakyrelu"), 0.1)

    def run(x0: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weights = torch.log(torch.ones(x0.shape[0], 1) / x0.shape[0])
        states = odeint(
            field,
            (x0, weights, torch.zeros_like(weights)),
            torch.tensor([0.0, 1.0]),
            options={"step_size": 0.1},
            method="euler",
        )
        return tuple(state[-1] for state in states)

    return Trial(Script(run, field), (torch.randn(4, 2),), {"x0": {0: "cells"}})
