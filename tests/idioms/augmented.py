"""An augmented neural ODE: zeros are appended to the state, and the caller may give the output times."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import BATCH, Case


class AugmentedOde(nn.Module):
    def __init__(self, data_dim=2, augment_dim=3):
        super().__init__()
        self.augment_dim, width = augment_dim, data_dim + augment_dim
        self.layers = nn.Sequential(nn.Linear(width + 1, 16), nn.Softplus(), nn.Linear(16, width))
        self.head = nn.Linear(width, 1)

    def field(self, t, x):
        clock = torch.ones(x.shape[0], 1) * t
        return self.layers(torch.cat([clock, x], 1))

    def forward(self, x, eval_times=None):
        aug = torch.zeros(x.shape[0], self.augment_dim).to(x)
        state = torch.cat([x, aug], 1)
        times = torch.tensor([0, 1]).float() if eval_times is None else eval_times.type_as(x)
        out = odeint(self.field, state, times, rtol=1e-3, atol=1e-3, method="dopri5", options={"max_num_steps": 1000})
        features = out[1] if eval_times is None else out.permute(1, 0, 2)
        return features, torch.tanh(self.head(features))


def case():
    return Case(AugmentedOde(), (torch.randn(3, 2),))


def case_at_given_times():
    dynamic = BATCH | {"eval_times": {0: "times"}}
    return Case(AugmentedOde(), (torch.randn(4, 2), torch.linspace(0, 1, 6)), dynamic)
