"""The models of yuan-yin/APHYNITY: incomplete equations, and networks for what they lack."""

from __future__ import annotations

from typing import Any

import torch
from trial import Source, Trial

SOURCE = Source("yuan-yin/APHYNITY", "forecasters.py, networks.py at commit 03d1f96", "APHYNITY")


def _forecast(equation: Any, network: Any, state: torch.Tensor, end: float, **settings: Any) -> Trial:
    from forecasters import Forecaster

    args = (state, torch.linspace(0, end, 4))
    model = Forecaster(equation, network, True, **settings).eval()
    return Trial(model, args, {"y0": {0: "batch"}, "t": {0: "times"}})


@SOURCE.case("reaction and diffusion: circular padding, batch norm without running statistics")
def reaction_diffusion() -> Trial:
    from networks import ConvNetEstimator, ReactionDiffusionParamPDE

    equation = ReactionDiffusionParamPDE(dx=0.1, is_complete=False)
    return _forecast(equation, ConvNetEstimator(), torch.randn(2, 2, 8, 8), 0.3)


@SOURCE.case("a damped wave: derivatives as convolutions")
def wave() -> Trial:
    from networks import ConvNetEstimator, DampedWaveParamPDE

    return _forecast(DampedWaveParamPDE(is_complete=False), ConvNetEstimator(), torch.randn(2, 2, 8, 8), 0.003)


@SOURCE.case("a damped pendulum, with dopri5")
def pendulum() -> Trial:
    from networks import MLP, DampedPendulumParamPDE

    return _forecast(DampedPendulumParamPDE(is_complete=True), MLP(2, 8), torch.randn(2, 2), 3.0, method="dopri5")
