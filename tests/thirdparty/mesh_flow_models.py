"""Meshes from spheres by KunalMGupta/NeuralMeshFlow: its deformation block."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("KunalMGupta/NeuralMeshFlow", "model/model.py at commit 897f5b9", "NeuralMeshFlow")


def _block() -> torch.nn.Module:
    stub("trimesh", "torchvision.models")
    from model.model import DeformBlock

    return DeformBlock(num_hidden=16, latent_len=8).eval()


@SOURCE.case("DeformBlock: two solves of points with a code, zeros kept on the field by batch")
def deform() -> Trial:
    block = _block()

    def run(code: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return block(code, x)[0]

    args = (torch.randn(2, 1, 8), torch.randn(2, 9, 3))
    return Trial(Script(run, block), args, {"code": {0: "batch"}, "x": {0: "batch"}})


@SOURCE.case("DeformBlock: forwards and backwards, any number of points")
def both() -> Trial:
    args = (torch.randn(2, 1, 8), torch.randn(2, 9, 3), torch.randn(2, 9, 3))
    points = {0: "batch", 1: "points"}
    return Trial(_block(), args, {"code": {0: "batch"}, "x": points, "y": points})
