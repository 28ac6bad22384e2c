"""The models of EmilienDupont/augmented-neural-odes, built as its experiments do."""

from __future__ import annotations

import torch
from trial import Source, Trial

SOURCE = Source("EmilienDupont/augmented-neural-odes", "anode/ at commit 88d9865", "augmented-neural-odes")
DEVICE = torch.device("cpu")


@SOURCE.case("ODENet: two augmented dimensions, relu in place, max_num_steps", forms={"auto": {}, "driven": {}})
def augmented() -> Trial:
    from anode.models import ODENet

    return Trial(ODENet(DEVICE, 2, 16, augment_dim=2).eval(), (torch.randn(5, 2),), {"x": {0: "batch"}})


@SOURCE.case("ODENet: time-dependent, softplus, adjoint, features returned too")
def time_dependent() -> Trial:
    from anode.models import ODENet

    model = ODENet(DEVICE, 2, 16, time_dependent=True, non_linearity="softplus", adjoint=True).eval()
    return Trial(model, (torch.randn(5, 2),), {"x": {0: "batch"}}, {"return_features": True})


@SOURCE.case("ODEBlock with times given by the caller")
def times_given() -> Trial:
    from anode.models import ODEBlock, ODEFunc

    block = ODEBlock(DEVICE, ODEFunc(DEVICE, 2, 16, 1, time_dependent=True, non_linearity="softplus")).eval()
    dynamic = {"x": {0: "batch"}, "eval_times": {0: "times"}}
    return Trial(block, (torch.randn(5, 2), torch.linspace(0, 1, 4)), dynamic)


@SOURCE.case("ConvODENet: augmented channels, time-dependent convolutions")
def convolutional() -> Trial:
    from anode.conv_models import ConvODENet

    model = ConvODENet(DEVICE, (1, 8, 8), 8, output_dim=10, augment_dim=1, time_dependent=True).eval()
    return Trial(model, (torch.randn(3, 1, 8, 8),), {"x": {0: "batch"}})
