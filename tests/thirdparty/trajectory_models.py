"""The model of KrishnaswamyLab/MIOFlow."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial

SOURCE = Source("KrishnaswamyLab/MIOFlow", "mioflow/core/models at commit ec4b8ba", "MIOFlow/mioflow/core")


def _trajectories(momentum: float) -> Trial:
    from models.ode_model import ODEFunc
    from torchdiffeq import odeint

    field = ODEFunc(5, 16, momentum_beta=momentum).eval()

    def run(cells: torch.Tensor, times: torch.Tensor) -> Any:
        field.reset_momentum()
        return odeint(field, cells, times)

    args = (torch.randn(4, 5), torch.linspace(0, 2, 6))
    return Trial(Script(run, field), args, {"cells": {0: "cells"}, "times": {0: "times"}})


@SOURCE.case("trajectories of cells to given times")
def trajectories() -> Trial:
    return _trajectories(0.0)


@SOURCE.case("with momentum: the field keeps the slope of its last call, with dopri5")
def momentum() -> Trial:
    return _trajectories(0.3)
