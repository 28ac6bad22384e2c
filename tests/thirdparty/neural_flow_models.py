"""The ODE models of mbilos/neural-flows-experiments, against which it compares neural flows."""

from __future__ import annotations

import sys
import types

import torch
from trial import Source, Trial

SOURCE = Source(
    "mbilos/neural-flows-experiments",
    "nfe/models/, nfe/experiments/tpp/model.py at commit bd19f7c",
    "neural-flows-experiments",
)


def _imports() -> None:
    (root,) = (path for path in sys.path if path.endswith("/neural-flows-experiments"))
    package = types.ModuleType("nfe")
    package.__path__ = [root + "/nfe"]
    sys.modules["nfe"] = package


@SOURCE.case("ODEModel: each time is a row of its own with its end in the state, seminorm")
def rows() -> Trial:
    _imports()
    from nfe.models import ODEModel

    model = ODEModel(3, "concat", [8], "Tanh", None, "dopri5").eval()
    dynamic = {"x": {0: "batch"}, "t": {0: "batch", 1: "length"}}
    return Trial(model, (torch.randn(2, 1, 3), torch.rand(2, 5, 1)), dynamic)


@SOURCE.case("ContinuousGRULayer: a GRU-ODE between two observations, rk4")
def gru_ode() -> Trial:
    _imports()
    from nfe.models import ContinuousGRULayer

    model = ContinuousGRULayer(3, 4, "ode", solver="rk4", solver_step=0.5).eval()
    return Trial(model, (torch.randn(2, 4, 3), torch.rand(2, 4, 1)), {"x": {0: "batch"}, "t": {0: "batch"}})


@SOURCE.case("JumpODE: the loss of a marked point process, a solve between two events")
def jump_ode() -> Trial:
    _imports()
    from nfe.experiments.tpp.model import JumpODE

    settings = types.SimpleNamespace(
        hidden_dim=4, hidden_layers=1, activation="Tanh", final_activation=None,
        solver="dopri5", solver_step=None, atol=1e-4, rtol=1e-3,
    )  # fmt: skip
    example = torch.rand(2, 4, 1), torch.randint(0, 3, (2, 4, 1)), torch.ones(2, 4, 1)
    return Trial(JumpODE(settings, 3).eval(), example, {name: {0: "batch"} for name in ("times", "marks", "mask")})
