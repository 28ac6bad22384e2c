"""Samplers and likelihoods of facebookresearch/flow_matching, built as its examples do."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial

SOURCE = Source("facebookresearch/flow_matching", "flow_matching/ at commit 11568d3", "flow_matching")


class _Velocity(torch.nn.Module):
    """The network of the examples: layers of x with t beside it."""

    def __init__(self) -> None:
        super().__init__()
        layers = [torch.nn.Linear(3, 32), torch.nn.SiLU(), torch.nn.Linear(32, 32), torch.nn.SiLU()]
        self.main = torch.nn.Sequential(*layers, torch.nn.Linear(32, 2))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        t = t.reshape(-1, 1).float().expand(x.shape[0], 1)
        return self.main(torch.cat([x, t], dim=1))


def _solver() -> tuple[Any, torch.nn.Module]:
    from flow_matching.solver import ODESolver
    from flow_matching.utils import ModelWrapper

    class Wrapped(ModelWrapper):
        def forward(self, x: torch.Tensor, t: torch.Tensor, **extras: Any) -> torch.Tensor:
            return self.model(x, t)

    model = Wrapped(_Velocity())
    return ODESolver(velocity_model=model), model


@SOURCE.case("2d_flow_matching: midpoint with a step size, states at given times", forms={"auto": {}, "rolled": {}})
def sample() -> Trial:
    solver, model = _solver()

    def run(x_init: torch.Tensor, time_grid: torch.Tensor) -> torch.Tensor:
        return solver.sample(
            x_init=x_init, time_grid=time_grid, method="midpoint", step_size=0.05, return_intermediates=True
        )

    dynamic = {"x_init": {0: "batch"}, "time_grid": {0: "times"}}
    return Trial(Script(run, model), (torch.randn(5, 2), torch.linspace(0, 1, 5)), dynamic)


@SOURCE.case("the same with dopri5", forms={"auto": {}, "driven": {}})
def sample_adaptively() -> Trial:
    solver, model = _solver()

    def run(x_init: torch.Tensor) -> torch.Tensor:
        return solver.sample(x_init=x_init, method="dopri5", step_size=None)

    return Trial(Script(run, model), (torch.randn(5, 2),), {"x_init": {0: "batch"}})


def _likelihood(**options: Any) -> Trial:
    from torch.distributions import Independent, Normal

    solver, model = _solver()
    prior = Independent(Normal(torch.zeros(2), torch.ones(2)), 1).log_prob

    def run(x_1: torch.Tensor) -> Any:
        return solver.compute_likelihood(x_1=x_1, log_p0=prior, **options)

    return Trial(Script(run, model), (torch.randn(5, 2),), {"x_1": {0: "batch"}})


@SOURCE.case("compute_likelihood with the exact divergence")
def exact_likelihood() -> Trial:
    return _likelihood(method="midpoint", step_size=0.05, exact_divergence=True)


@SOURCE.case("compute_likelihood with Hutchinson's divergence, signs drawn inside")
def estimated_likelihood() -> Trial:
    return _likelihood(method="dopri5", step_size=None, exact_divergence=False)
