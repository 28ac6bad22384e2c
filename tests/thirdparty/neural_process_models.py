"""Decoders of crisbodnar/ndp: neural ODE processes."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial

SOURCE = Source("crisbodnar/ndp", "models/models.py at commit 42f6a5a", "ndp")


def _decode(name: str) -> Trial:
    from models import models

    decoder = getattr(models, name)(1, 4, 16, 1, 2, torch.tensor([[[-0.1]]])).eval()

    def run(x: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = decoder(x, z)
        return found.loc, found.scale

    x = torch.rand(3, 5, 1)
    return Trial(Script(run, decoder), (x, torch.randn(3, 4)), {"x": {0: "batch", 1: "points"}, "z": {0: "batch"}})


@SOURCE.case("MlpNormalODEDecoder: solves to the sorted union of all times of a batch, then gathers")
def decoder() -> Trial:
    return _decode("MlpNormalODEDecoder")


@SOURCE.case("the same with a second-order latent ODE")
def second_order_decoder() -> Trial:
    return _decode("MlpSonodeDecoder")
