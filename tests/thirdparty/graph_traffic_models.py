"""The model of square-coder/STGODE, as its run_stode.py builds it, with random adjacency matrices."""

from __future__ import annotations

import torch
from trial import Source, Trial

SOURCE = Source("square-coder/STGODE", "model.py, odegcn.py at commit e5e7bfc", "STGODE")


@SOURCE.case("ODEGCN: graph ODEs with Euler between temporal convolutions, x0 kept on the field")
def traffic() -> Trial:
    from model import ODEGCN

    nodes = 5
    adjacency = [torch.softmax(torch.randn(nodes, nodes), 1) for _ in range(2)]
    return Trial(ODEGCN(nodes, 3, 12, 12, *adjacency).eval(), (torch.randn(2, nodes, 12, 3),), {"x": {0: "batch"}})


@SOURCE.case("one STGCNBlock", forms={"auto": {}, "driven": {}})
def block() -> Trial:
    from model import STGCNBlock

    model = STGCNBlock(3, [8, 4, 8], 5, torch.softmax(torch.randn(5, 5), 1)).eval()
    return Trial(model, (torch.randn(2, 5, 12, 3),), {"X": {0: "batch"}})
