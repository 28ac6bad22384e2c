"""Trials of KacperWyrwal/topological-flow-matching: flows of signals on graphs, in the basis of the Laplacian."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial

SOURCE = Source(
    "KacperWyrwal/topological-flow-matching", "src/topofm/ at commit 50fac00", "topological-flow-matching/src"
)


def _models():
    import sys
    import types
    from pathlib import Path

    package = types.ModuleType("topofm")
    package.__path__ = [str(Path(sys.path[0]) / "topofm")]
    sys.modules["topofm"] = package
    from topofm import models

    return models


@SOURCE.case("a graph network over eigenvalues as the control, by dopri5")
def graph_flow() -> Trial:
    net = _models().GCN(torch.linspace(0, 2, 6), hidden_dim=8, time_embed_dim=8).eval()

    def run(y):
        return odeint(lambda t, x: net(t.expand(x.shape[0]), x), y, torch.tensor([0.0, 1.0]), atol=1e-5, rtol=1e-5)[-1]

    return Trial(Script(run, net), (torch.randn(4, 6),), {"y": {0: "batch"}})


@SOURCE.case("a simplicial network: a loop over samples and over orders, written into an empty tensor")
def simplicial_flow() -> Trial:
    net = _models().SNNPolicy(6, hidden_dim=8, time_embed_dim=8).eval()

    def run(x0, down, up):
        return odeint(lambda t, x: net(x, t, down, up), x0, torch.linspace(0, 1, 3), method="euler")[-1]

    return Trial(Script(run, net), (torch.randn(3, 6), torch.randn(6, 6), torch.randn(6, 6)))
