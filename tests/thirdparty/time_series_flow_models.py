"""Trials of graps1/flow-matching-for-time-series: flows of three-dimensional fields of a fluid."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, fresh_weights

SOURCE = Source(
    "graps1/flow-matching-for-time-series", "src/fmfts/ at commit f89c23b", "flow-matching-for-time-series/src"
)


@SOURCE.case(
    "sample: a loop over a tensor's number of steps, a 3D U-Net with circular padding, width free", forms={"plain": {}}
)
def sample() -> Trial:
    from fmfts.experiments.dRTI.models import VelocityModelFullRTI3D

    model = fresh_weights(VelocityModelFullRTI3D(features=(4, 8), include_timestamp=False)).eval()

    def run(y, x):
        return model.sample(y, x, steps=2)

    return Trial(
        Script(run, model),
        (torch.randn(2, 4, 8, 8, 8), torch.randn(2, 4, 8, 8, 8)),
        {"y": {0: "batch"}, "x": {0: "batch"}},
    )
