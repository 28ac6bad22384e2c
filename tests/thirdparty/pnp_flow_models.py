"""Trials of annegnx/PnP-Flow: an image U-Net as the field, for restoration."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("annegnx/PnP-Flow", "pnpflow/ at commit ee5b159", "PnP-Flow")


def _flow():
    stub(
        "ignite.metrics",
        "torchvision.models.utils",
        "skimage",
        "deepinv",
        "lpips",
        "cv2",
        "tqdm",
        "pnpflow.utils",
        "pnpflow.image_generation.models.utils",
        "torchvision.transforms",
    )
    from pnpflow.methods.d_flow import D_FLOW
    from pnpflow.models import UNet

    net = UNet(
        input_channels=3,
        input_height=16,
        ch=32,
        ch_mult=(1, 2),
        num_res_blocks=1,
        attn_resolutions=(8,),
        resamp_with_conv=True,
    )
    args = SimpleNamespace(method="d_flow", model="ot", steps_euler=3, start_time=0.0)
    return D_FLOW(fresh_weights(net).eval(), "cpu", args), net


@SOURCE.case("D_FLOW.inverse_flow_matching: an image U-Net, backwards in time by dopri5, the adjoint")
def inverse() -> Trial:
    flow, net = _flow()

    def run(z):
        return flow.inverse_flow_matching(z)

    return Trial(Script(run, net), (torch.randn(2, 3, 16, 16),), {"z": {0: "batch"}})


@SOURCE.case("D_FLOW.forward_flow_matching: the authors' own midpoint loop, len(z)", forms={"plain": {}})
def forward() -> Trial:
    flow, net = _flow()

    def run(z):
        return flow.forward_flow_matching(z)

    return Trial(Script(run, net), (torch.randn(2, 3, 16, 16),), {"z": {0: "batch"}})
