"""Graph convolutions over an `edge_index` given in each call: gather, message, `index_add` and `scatter_add`."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class GraphConv(nn.Module):
    def __init__(self, inward, outward):
        super().__init__()
        self.own, self.near = nn.Linear(inward, outward), nn.Linear(inward, outward, bias=False)

    def forward(self, x, edge_index, norm):
        source, target = edge_index
        messages = self.near(x).index_select(0, source) * norm.unsqueeze(-1)
        return self.own(x) + torch.zeros_like(self.own(x)).index_add(0, target, messages)


class GraphOde(nn.Module):
    def __init__(self, dim=3, hidden=4):
        super().__init__()
        self.conv1, self.conv2 = GraphConv(dim, hidden), GraphConv(hidden, dim)
        self.edge_index = self.norm = None

    def field(self, t, x):
        hidden = torch.relu(self.conv1(x, self.edge_index, self.norm))
        return torch.tanh(self.conv2(hidden, self.edge_index, self.norm)) - x

    def forward(self, edge_index, x):
        degree = torch.zeros(x.size(0)).scatter_add(0, edge_index[1], torch.ones(edge_index.size(1)))
        scale = degree.clamp(min=1).rsqrt()
        self.edge_index, self.norm = edge_index, scale[edge_index[0]] * scale[edge_index[1]]
        return odeint(self.field, x, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-4)[-1]


def case():
    edges = torch.tensor([[0, 1, 2, 3, 4, 1, 2], [1, 2, 3, 4, 0, 0, 0]])
    return Case(GraphOde(), (edges, torch.randn(5, 3)), {"edge_index": {1: "edges"}, "x": {0: "nodes"}})
