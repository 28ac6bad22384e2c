"""The models of dtak/mbrl-smdp-ode: dynamics for reinforcement learning with irregular times."""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
from torch import nn
from trial import Script, Source, Trial

SOURCE = Source("dtak/mbrl-smdp-ode", "model.py at commit 410e957", "mbrl-smdp-ode")


def _model() -> Any:
    sys.modules["utils"] = types.ModuleType("utils")  # imports a simulator
    from model import ODEGRU, DiffeqSolver, ODEFunc

    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
    solver = DiffeqSolver(ODEFunc(net), "dopri5", 1e-3, 1e-4)
    return ODEGRU(5, 6, 0.0, nn.Linear(6, 3), solver, None, torch.device("cpu")).eval()


@SOURCE.case("ODE-GRU, one step: a solve to the unique gaps of a batch, from which each row takes its own")
def step() -> Trial:
    model = _model()

    def run(data: torch.Tensor, latent: torch.Tensor, gaps: torch.Tensor) -> Any:
        return model.encode_next_latent_state(data, latent, gaps)

    dynamic = {name: {0: "batch"} for name in ("data", "latent", "gaps")}
    return Trial(Script(run, model), (torch.randn(4, 5), torch.randn(4, 6), torch.rand(4)), dynamic)


@SOURCE.case("ODE-GRU over a trajectory of states and actions")
def trajectory() -> Trial:
    model = _model()

    def run(states: torch.Tensor, actions: torch.Tensor, times: torch.Tensor) -> Any:
        return model.predict_next_states(states, actions, times, train=False)

    args = (torch.randn(3, 3, 3), torch.randn(3, 3, 2), torch.rand(3, 4).cumsum(1))
    return Trial(Script(run, model), args, {name: {0: "batch"} for name in ("states", "actions", "times")})
