"""The models of hedixia/HeavyBallNODE, with einops, built as its source/main.py does."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from trial import Source, Trial, stub, with_arguments

SOURCE = Source("hedixia/HeavyBallNODE", "source/models.py at commit cd1065f", "HeavyBallNODE/source")


def _classifier(name: str) -> Trial:
    stub("torchvision", "imageio", "matplotlib.pyplot")
    with_arguments()
    import models

    args = SimpleNamespace(model=name, gpu="cpu", tol=1e-3, xres=1.5)
    if name == "node":
        start = models.anode_initial_velocity(3, 5, args)
        field = models.NODE(models.DF(5, 8, args=args))
    else:
        start = models.initial_velocity(3, 5, 8)
        field = models.HeavyBallNODE(models.DF(5, 8, args=args))
    size = 32
    model = torch.nn.Sequential(start, models.NODElayer(field, args=args), models.predictionlayer(5)).eval()
    return Trial(model, (torch.rand(2, 3, size, size),), {"input": {0: "batch"}})


@SOURCE.case(
    "heavy ball node on CIFAR-10: split and concatenated halves, relu in place", forms={"auto": {}, "driven": {}}
)
def heavy_ball() -> Trial:
    return _classifier("hbnode")


@SOURCE.case("neural ODE with channels added by zeros")
def node() -> Trial:
    return _classifier("node")
