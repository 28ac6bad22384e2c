"""The models of DeepGraphLearning/ContinuousGNN, on a random graph."""

from __future__ import annotations

from typing import Any

import torch
from trial import Source, Trial

SOURCE = Source("DeepGraphLearning/ContinuousGNN", "src/gnn.py, src/wgnn.py at commit a82332e", "ContinuousGNN/src")
OPTIONS: dict[str, Any] = {"alpha": 0.8, "hidden_dim": 6, "num_feature": 5, "num_class": 3, "cuda": False}
OPTIONS |= {"input_dropout": 0.5, "dropout": 0.5}
NODES = 7


def _graph() -> torch.Tensor:
    torch.Tensor.cuda = lambda self: self  # the models move zeros to the GPU, whatever their options say
    edges = (torch.rand(NODES, NODES) < 0.4).float() + torch.eye(NODES)
    return (edges / edges.sum(1, keepdim=True)).to_sparse()


@SOURCE.case("GNN: sparse adjacency, the encoded features kept on the field")
def gnn() -> Trial:
    graph = _graph()
    from gnn import GNN

    return Trial(GNN(OPTIONS, graph, None, 2.0).eval(), (torch.randn(NODES, 5),))


@SOURCE.case("WGNN: the same with weights")
def wgnn() -> Trial:
    graph = _graph()
    from wgnn import WGNN

    return Trial(WGNN(OPTIONS, graph, None, 2.0).eval(), (torch.randn(NODES, 5),))
