"""The model of GRAND-Lab/MTGODE, as its run_multi_step.py builds it, on a small graph."""

from __future__ import annotations

import torch
from trial import Source, Trial

SOURCE = Source("GRAND-Lab/MTGODE", "model.py, layer.py at commit 9011a89", "MTGODE")


@SOURCE.case("a learned graph; Euler in Euler, whose fields keep their states and double a dilation from call to call")
def traffic() -> Trial:
    from model import MTGODE

    model = MTGODE(
        True,
        6,
        "cpu",
        subgraph_size=3,
        node_dim=4,
        dilation_exponential=2,
        conv_channels=4,
        end_channels=8,
        in_dim=2,
        out_dim=3,
    )
    return Trial(model.eval(), (torch.randn(2, 2, 6, 12),), {"input": {0: "batch"}})
