"""The U-Net of ODE blocks of DIAGNijmegen/neural-odes-segmentation."""

from __future__ import annotations

import torch
from trial import Source, Trial

SOURCE = Source(
    "DIAGNijmegen/neural-odes-segmentation", "models.py, model_utils.py at commit 6dd0505", "neural-odes-segmentation"
)


@SOURCE.case("ConvODEUNet: nine solves")
def unode() -> Trial:
    from models import ConvODEUNet

    model = ConvODEUNet(2, output_dim=2, time_dependent=True, non_linearity="softplus").eval()
    return Trial(model, (torch.randn(2, 3, 32, 32),), {"x": {0: "batch"}})
