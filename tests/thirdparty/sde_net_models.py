"""The SDE-Net of Lingkai-Kong/SDE-Net, whose Euler-Maruyama steps are a loop of its own."""

from __future__ import annotations

import torch
from trial import Source, Trial

SOURCE = Source("Lingkai-Kong/SDE-Net", "MNIST/models/sdenet_mnist.py at commit d7ae44f", "SDE-Net/MNIST")


@SOURCE.case(
    "MNIST: normal numbers in each step, a size by torch.prod of a tensor of sizes", forms={"plain": {}, "auto": {}}
)
def mnist() -> Trial:
    from models.sdenet_mnist import SDENet_mnist

    model = SDENet_mnist(3, dim=8).eval()
    model.sigma = 1.0
    return Trial(model, (torch.randn(2, 1, 14, 14),), {"x": {0: "batch"}})
