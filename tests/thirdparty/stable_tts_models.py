"""The decoder of KdaiP/StableTTS: flow matching from text features to mel frames."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, fresh_weights

SOURCE = Source("KdaiP/StableTTS", "models/ at commit 71dfa41", "StableTTS")


@SOURCE.case("CFMDecoder: Euler, any number of frames, padded")
def euler() -> Trial:
    from models.flow_matching import CFMDecoder

    decoder: Any = fresh_weights(CFMDecoder(10, 10, 16, 10, 32, 2, 2, 3, 0.0, 12).eval())

    def run(mu: torch.Tensor, mask: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return decoder(mu, mask, 4, temperature=0.8, c=c, solver="euler")

    mask = torch.ones(2, 1, 14)
    mask[1, :, 10:] = 0
    dynamic = {"mu": {0: "batch", 2: "frames"}, "mask": {0: "batch", 2: "frames"}, "c": {0: "batch"}}
    return Trial(Script(run, decoder), (torch.randn(2, 10, 14), mask, torch.randn(2, 12)), dynamic)
