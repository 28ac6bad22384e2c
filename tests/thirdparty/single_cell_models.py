"""The model of rsinghlab/scNODE, with few genes."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial

SOURCE = Source("rsinghlab/scNODE", "model/ at commit ba55e8d", "scNODE")
TIMES = torch.tensor([0.0, 1.0, 2.0, 3.5])
DYNAMIC = {"first": {0: "cells"}, "times": {0: "times"}}


def _model() -> Any:
    from model.diff_solver import ODE
    from model.dynamic_model import scNODE
    from model.layer import LinearNet, LinearVAENet

    solver = ODE(4, LinearNet(4, [8], 4, "relu"), "euler")
    return scNODE(12, 4, 12, LinearVAENet(12, [8], 4, "relu"), solver, LinearNet(4, [8], 12, "relu")).eval()


@SOURCE.case("forward: a latent drawn for each cell, Euler to given times")
def forward() -> Trial:
    model = _model()

    def run(first: torch.Tensor, times: torch.Tensor) -> Any:
        reconstructed, _, _, latent = model([first], times)
        return reconstructed, latent

    return Trial(Script(run, model), (torch.rand(5, 12), TIMES), DYNAMIC)


@SOURCE.case("predict: as many cells as asked for, repeated from the first ones")
def predict() -> Trial:
    model = _model()

    def run(first: torch.Tensor, times: torch.Tensor) -> Any:
        return model.predict(first, times, n_cells=9)

    return Trial(Script(run, model), (torch.rand(5, 12), TIMES), DYNAMIC)
