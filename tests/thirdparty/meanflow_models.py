"""Trials of zhuyu-cs/MeanFlow: average velocities between two times, one step or a few."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, fresh_weights, stub_timm

SOURCE = Source("zhuyu-cs/MeanFlow", "sit.py, meanflow_sampler.py at commit 04d183c", "MeanFlow")


def _net():
    import sys

    if "sit" not in sys.modules:
        stub_timm()
    import sit

    kinds = [
        v
        for v in vars(sit).values()
        if isinstance(v, type) and v.__module__ == "sit" and "SiT" in v.__name__ and "Block" not in v.__name__
    ]
    return fresh_weights(
        kinds[-1](
            input_size=8,
            patch_size=2,
            in_channels=4,
            hidden_size=32,
            decoder_hidden_size=32,
            encoder_depth=1,
            depth=2,
            num_heads=2,
            num_classes=5,
            qk_norm=False,
            fused_attn=False,
        )
    ).eval()


def _trial(**more):
    net = _net()
    from meanflow_sampler import meanflow_sampler

    def run(latents, y):
        return meanflow_sampler(net, latents, y, **more)

    return Trial(
        Script(run, net), (torch.randn(2, 4, 8, 8), torch.tensor([1, 3])), {"latents": {0: "batch"}, "y": {0: "batch"}}
    )


@SOURCE.case("one step with guidance by chunk", forms={"plain": {}})
def one_step() -> Trial:
    return _trial(cfg_scale=2.0)


@SOURCE.case("four steps without guidance; times from linspace by torch.full", forms={"plain": {}})
def four_steps() -> Trial:
    return _trial(num_steps=4)
