"""Trials of baofff/U-ViT: a transformer with long skips as the field of a flow."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, fresh_weights, stub_timm

SOURCE = Source("baofff/U-ViT", "libs/uvit.py at commit ce55170", "U-ViT")


def _net(**more):
    import sys
    import types

    if "timm.models.layers" not in sys.modules:
        stub_timm()

    layers = types.ModuleType("timm.models.layers")
    from timm.layers import DropPath, trunc_normal_

    layers.trunc_normal_ = trunc_normal_
    sys.modules["timm.models.layers"] = layers
    sys.modules["timm.models.vision_transformer"].DropPath = DropPath
    from libs.uvit import UViT

    return fresh_weights(UViT(img_size=8, patch_size=2, in_chans=3, embed_dim=32, depth=3, num_heads=2, **more)).eval()


@SOURCE.case("a class-conditional flow by dopri5, guidance by two calls")
def guidance() -> Trial:
    net = _net(num_classes=6)

    def run(z, y):
        def field(t, x):
            t = t.expand(x.shape[0]) * 1000
            return 1.5 * net(x, t, y) - 0.5 * net(x, t, torch.full_like(y, 5))

        return odeint(field, z, torch.tensor([0.0, 1.0]), atol=1e-5, rtol=1e-5)[-1]

    return Trial(
        Script(run, net), (torch.randn(2, 3, 8, 8), torch.tensor([1, 3])), {"z": {0: "batch"}, "y": {0: "batch"}}
    )


@SOURCE.case("an unconditional flow, euler, without the last convolution")
def samples() -> Trial:
    net = _net(conv=False, mlp_time_embed=True)

    def run(z):
        return odeint(lambda t, x: net(x, t.repeat(x.shape[0])), z, torch.linspace(1, 0, 4), method="euler")[-1]

    return Trial(Script(run, net), (torch.randn(2, 3, 8, 8),), {"z": {0: "batch"}})
