"""Trajectories of cells by KrishnaswamyLab/MIOFlow: its ODEFunc, along bins of time."""

from __future__ import annotations

from typing import Any

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial

SOURCE = Source(
    "KrishnaswamyLab/MIOFlow", "mioflow/core/models/ode_model.py at commit ec4b8ba", "MIOFlow/mioflow/core/models"
)


def _field(**more: Any) -> Any:
    from ode_model import ODEFunc

    return ODEFunc(3, 16, **more)


@SOURCE.case("ODEFunc: dopri5 along given times")
def trajectories() -> Trial:
    field = _field()

    def run(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return odeint(field, x, t)

    args = (torch.randn(4, 3), torch.linspace(0, 2, 5))
    return Trial(Script(run, field), args, {"x": {0: "cells"}, "t": {0: "bins"}})


@SOURCE.case("ODEFunc with momentum: the last slope is kept on the field, so that there is no ODE")
def momentum() -> Trial:
    field = _field(momentum_beta=0.3)

    def run(x: torch.Tensor) -> torch.Tensor:
        field.reset_momentum()
        return odeint(field, x, torch.tensor([0.0, 1.0]), method="euler", options={"step_size": 0.1})[-1]

    return Trial(Script(run, field), (torch.randn(4, 3),), {"x": {0: "cells"}})
