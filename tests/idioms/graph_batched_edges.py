"""Graphs of one shape in a batch: their edges, with the nodes of each graph counted on, in a loop and kept by size."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case

NODES = 4


class Model(nn.Module):
    def __init__(self, edges, divergence):
        super().__init__()
        self.message, self.update = nn.Linear(5, 8), nn.Linear(8, 1)
        self.edges, self.divergence, self.kept = edges, divergence, {}

    def field(self, t, state):
        x = state[0]
        batch = x.shape[0]
        if batch not in self.kept:
            self.kept = {batch: self.edges(batch)}
        source, target = self.kept[batch]
        with torch.enable_grad():
            x = x.requires_grad_()
            nodes = x.reshape(batch * NODES, 2)
            gaps = nodes[source] - nodes[target]
            features = torch.cat([nodes[source], nodes[target], t.expand(len(source), 1)], 1)
            steps = gaps * self.update(torch.tanh(self.message(features)))
            moved = (
                torch.zeros_like(nodes).scatter_add_(0, source[:, None].expand(-1, 2), steps).reshape(batch, NODES, 2)
            )
            trace = torch.autograd.grad((moved * self.divergence).sum(), x)[0] * self.divergence
        return moved, trace.sum((1, 2))

    def forward(self, x):
        y, change = odeint(
            self.field, (x, torch.zeros(x.shape[0])), torch.tensor([0.0, 1.0]), method="rk4", options={"step_size": 0.5}
        )
        return y[-1], change[-1]


def added(batch):
    pairs = torch.tensor([(i, j) for i in range(NODES) for j in range(NODES) if i != j]).T
    return [torch.cat([nodes + graph * NODES for graph in range(batch)]) for nodes in pairs]


def listed(batch):
    source, target = [], []
    for graph in range(batch):
        for i in range(NODES):
            for j in range(NODES):
                source.append(i + graph * NODES)
                target.append(j + graph * NODES)
    return torch.LongTensor(source), torch.LongTensor(target)


def case_tensors_added():
    return Case(Model(added, torch.randn(NODES, 2)), (torch.randn(3, NODES, 2),))


def case_lists():
    return Case(Model(listed, torch.randn(NODES, 2)), (torch.randn(3, NODES, 2),))
