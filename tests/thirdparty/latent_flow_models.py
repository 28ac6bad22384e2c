"""Latent flow matching of VinAIResearch/LFM: its transformer, with the call of odeint of its test_flow_latent.py."""

from __future__ import annotations

import torch
from torchdiffeq import odeint_adjoint as odeint
from trial import Script, Source, Trial, fresh_weights, stub, stub_timm

SOURCE = Source("VinAIResearch/LFM", "models/ at commit 4d8e43d", "LFM")


@SOURCE.case("DiT with labels: dopri5 with times in float64, backwards in time")
def dit() -> Trial:
    stub_timm()
    stub("torchvision", "blobfile", "mpi4py")
    from models.DiT import DiT

    net = DiT(
        img_resolution=8,
        patch_size=2,
        in_channels=4,
        hidden_size=32,
        depth=2,
        num_heads=4,
        num_classes=10,
        label_dropout=0.1,
    )
    fresh_weights(net.eval())

    def run(x_0: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        images = odeint(
            lambda t, x: net(t, x, y=y),
            x_0,
            torch.tensor([1.0, 0.0]),
            method="dopri5",
            atol=1e-5,
            rtol=1e-5,
            adjoint_method="dopri5",
            options={"dtype": torch.float64},
            adjoint_params=net.parameters(),
        )
        return images[-1]

    args = (torch.randn(4, 4, 8, 8), torch.randint(0, 10, (4,)))
    return Trial(Script(run, net), args, {"x_0": {0: "batch"}, "y": {0: "batch"}})
