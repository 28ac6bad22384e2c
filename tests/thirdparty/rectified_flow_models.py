"""Samplers of lucidrains/rectified-flow-pytorch, with its Unet, as its README does."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source(
    "lucidrains/rectified-flow-pytorch", "rectified_flow_pytorch/ at commit 26fbed9", "rectified-flow-pytorch"
)


def _sampler(**options: Any) -> Trial:
    stub(
        "torchvision.utils",
        "torchvision.models",
        "torchvision.transforms",
        "ema_pytorch",
        "accelerate",
        "datasets",
        "PIL",
    )
    from rectified_flow_pytorch.rectified_flow import RectifiedFlow, Unet

    flow: Any = RectifiedFlow(Unet(dim=8, dim_mults=(1, 2)), data_shape=(3, 8, 8), **options)
    fresh_weights(flow.eval())

    def run(noise: torch.Tensor) -> torch.Tensor:
        return flow.sample(batch_size=noise.shape[0], steps=4, noise=noise)

    return Trial(Script(run, flow), (torch.randn(2, 3, 8, 8),), {"noise": {0: "batch"}})


@SOURCE.case("a Unet with linear attention, midpoint, noise given", forms={"auto": {}, "rolled": {}})
def unet() -> Trial:
    return _sampler()


@SOURCE.case("predict='noise' with clipping of the state and the flow")
def noise_predicted() -> Trial:
    return _sampler(predict="noise", clip_during_sampling=True)
