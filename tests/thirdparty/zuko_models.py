"""Flows of the package zuko: without a solve, and with its own solver."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial

SOURCE = Source("zuko", "1.6.0 from PyPI", package="zuko")


def _args() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 3), torch.randn(4, 2)


@SOURCE.case("masked autoregressive flow with a context: samples from noise", forms={"plain": {}})
def autoregressive() -> Trial:
    import zuko

    flow = zuko.flows.MAF(3, 2, transforms=2, hidden_features=[8, 8])

    def run(z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return flow(c).transform.inv(z)

    return Trial(Script(run, flow), _args(), {"z": {0: "batch"}, "c": {0: "batch"}})


@SOURCE.case("continuous flow, which zuko solves by a function of its own")
def continuous() -> Trial:
    import zuko

    flow = zuko.flows.CNF(3, 2, hidden_features=[8, 8])

    def run(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return flow(c).log_prob(x)

    return Trial(Script(run, flow), _args(), {"x": {0: "batch"}, "c": {0: "batch"}})
