"""A neural ODE on a graph: its nodes have states, and a list of edges, in plain torch."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from solved import Solved
from torch import Tensor, nn

NODES, NEAREST, CHANNELS, HIDDEN = 2000, 8, 16, 32


@cache
def edges() -> tuple[Tensor, Tensor]:
    """The edges (2, edges) from source to target, and their weights (edges,).

    Points of the unit square are neighbours where one is among the 8 nearest of the other, so that nodes have 8
    neighbours or more. The weights are those of a graph convolution, 1 / sqrt(degree of the source * degree of the
    target).
    """
    places = torch.rand(NODES, 2, generator=torch.Generator().manual_seed(0))
    nearest = torch.cdist(places, places).fill_diagonal_(torch.inf).topk(NEAREST, largest=False).indices
    near = torch.zeros(NODES, NODES, dtype=torch.bool).scatter(1, nearest, True)
    index = (near | near.T).nonzero().T.contiguous()
    scale = torch.bincount(index[1], minlength=NODES).float().rsqrt()
    return index, scale[index[0]] * scale[index[1]]


class GraphConv(nn.Module):
    """A graph convolution: a layer of the node itself, plus the weighted sum of messages of its neighbours."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.own, self.near = nn.Linear(inward, outward), nn.Linear(inward, outward, bias=False)

    def forward(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        source, target = index
        messages = self.near(x).index_select(0, source) * weights.unsqueeze(-1)
        own: Tensor = self.own(x)
        return own.index_add(0, target, messages)


class GraphField(nn.Module):
    """Two graph convolutions and a decay, on the states (nodes, channels)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = GraphConv(CHANNELS, HIDDEN), GraphConv(HIDDEN, CHANNELS)
        index, weights = edges()
        self.register_buffer("index", index)
        self.register_buffer("weights", weights)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        hidden = torch.relu(self.conv1(x, self.index, self.weights))
        return torch.tanh(self.conv2(hidden, self.index, self.weights)) - x


class Graph(Solved):
    """The states of all nodes at the end of a solve."""

    def __init__(self) -> None:
        super().__init__(GraphField(), torch.tensor([0.0, 5.0]))

    def after(self, path: Tensor) -> Tensor:
        return path[-1]


def features(nodes: int) -> np.ndarray:
    """Normal states (nodes, channels)."""
    return np.random.default_rng(1).normal(size=(nodes, CHANNELS)).astype(np.float32)
