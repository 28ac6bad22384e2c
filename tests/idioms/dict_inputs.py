"""A batch of data as a dict, as data loaders return it, and a dict of outputs."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.lin = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, batch):
        start = self.encoder(torch.cat([batch["values"], batch["static"]["features"]], dim=-1))
        path = odeint(lambda t, y: torch.tanh(self.lin(y)), start, batch["times"], rtol=1e-3, atol=1e-4)
        return {"path": path.transpose(0, 1), "last": path[-1]}


def case():
    batch = {
        "values": torch.randn(3, 2),
        "times": torch.linspace(0, 1, 4),
        "static": {"features": torch.randn(3, 2)},
    }
    dynamic = {"batch.values": {0: "batch"}, "batch.static.features": {0: "batch"}, "batch.times": {0: "times"}}
    return Case(Model(), (batch,), dynamic)
