"""Deformations of shapes by maxjiang93/ShapeFlow: flows along a path of latent codes."""

from __future__ import annotations

from typing import Any

import torch
from trial import Source, Trial

SOURCE = Source("maxjiang93/ShapeFlow", "shapeflow/layers/ at commit 351ee2f", "ShapeFlow")


def _trial(**options: Any) -> Trial:
    from shapeflow.layers.deformation_layer import NeuralFlowDeformer

    model = NeuralFlowDeformer(
        latent_size=4, f_width=8, s_nlayers=2, s_width=5, method="dopri5", nonlinearity="elu", arch="imnet", **options
    )
    args = (torch.randn(2, 7, 3), torch.randn(2, 3, 4))
    return Trial(model.eval(), args, {"points": {0: "batch", 1: "points"}, "latent_sequence": {0: "batch"}})


@SOURCE.case("NeuralFlowDeformer: the code at a time by argmax of a mask, adjoint")
def deformer() -> Trial:
    return _trial()


@SOURCE.case("symmetric along an axis, written in place")
def symmetric() -> Trial:
    return _trial(symm_dim=2, adjoint=False)


@SOURCE.case("the lengths of the path as output times")
def waypoints() -> Trial:
    return _trial(use_latent_waypoints=True, return_waypoints=True)
