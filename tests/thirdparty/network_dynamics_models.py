"""The neural dynamics on networks of calvin-zcx/ndcn, with the copy of torchdiffeq of 2018 beside them."""

from __future__ import annotations

from typing import Any

import torch
from trial import Source, Trial, stub

SOURCE = Source("calvin-zcx/ndcn", "neural_dynamics.py at commit a7ccb4d", "ndcn")


def _run(**options: Any) -> Trial:
    stub("matplotlib.pyplot", "networkx.algorithms", "sklearn", "mpl_toolkits.mplot3d", "tqdm", "pandas")
    from neural_dynamics import NDCN

    edges = (torch.rand(6, 6) > 0.5).float()
    model = NDCN(1, 8, torch.diag(edges.sum(1)) - edges, 1, **options).eval()
    return Trial(model, (torch.linspace(0, 1, 5), torch.rand(6, 1)), {"vt": {0: "times"}})


@SOURCE.case("NDCN: heat on a graph, dopri5 of the old torchdiffeq")
def adaptive() -> Trial:
    return _run()


@SOURCE.case("NDCN: Euler of the old torchdiffeq")
def euler() -> Trial:
    return _run(method="euler")
