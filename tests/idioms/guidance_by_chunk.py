"""Classifier-free guidance: both halves in one batch, `cat([x, x])`, and the two answers apart again; or two calls."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Model(nn.Module):
    def __init__(self, apart):
        super().__init__()
        self.net, self.apart = nn.Linear(3, 3), apart
        self.register_buffer("scale", torch.tensor([2.0]))

    def field(self, t, y):
        conditions = torch.cat([torch.ones(len(y), 1), torch.zeros(len(y), 1)])
        both = torch.tanh(self.net(torch.cat([y, y]) + conditions))
        with_text, without = self.apart(both, y.shape[0])
        # A view of a constant beside the constant's number.
        return without + float(self.scale) * self.scale.expand(y.shape[0], 1) * (with_text - without)

    def forward(self, x):
        return odeint(self.field, x, torch.tensor([0.0, 1.0]), method="euler", options={"step_size": 0.5})[-1]


def case_chunk():
    return Case(Model(lambda both, n: both.chunk(2)), (torch.randn(4, 3),))


def case_split():
    return Case(Model(lambda both, n: torch.split(both, len(both) // 2, dim=0)), (torch.randn(4, 3),))


def case_int_of_half_the_length():
    def halves(both, n):
        half = int(len(both) / 2)
        return both[:half], both[half:]

    return Case(Model(halves), (torch.randn(4, 3),))


def case_unflatten():
    return Case(Model(lambda both, n: both.unflatten(0, (2, n)).unbind(0)), (torch.randn(4, 3),))


class Labels(nn.Module):
    """A sampler that writes the labels and times of its batch as lists."""

    def __init__(self):
        super().__init__()
        self.net, self.labels = nn.Linear(4, 3), nn.Embedding(11, 3)

    def forward(self, x, label):
        n = x.shape[0]
        without = torch.tensor([10] * n)
        offsets = torch.as_tensor(n * [[0.1, 0.2, 0.3]]) + torch.Tensor([0.5] * n)[:, None]
        both = self.labels(torch.cat([label, without]))

        def field(t, y):
            times = torch.tensor([t] * (2 * n))[:, None]
            with_label, free = (torch.tanh(self.net(torch.cat([torch.cat([y, y]), times], 1))) + both).chunk(2)
            return free + 4.0 * (with_label - free)

        return odeint(field, x + offsets, torch.linspace(0, 1, 4), method="euler")[-1]


def case_labels_in_a_list():
    return Case(Labels(), (torch.randn(4, 3), torch.tensor([1, 5, 0, 7])), {"x": {0: "batch"}, "label": {0: "batch"}})


class TwoCalls(nn.Module):
    """A sampler of one image that calls its network twice; the network is large enough for an export to join both."""

    def __init__(self):
        super().__init__()
        self.labels = nn.Embedding(11, 8)
        self.net = nn.Sequential(nn.Linear(25, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 16))

    def forward(self, x, label):
        def velocity(t, y, label):
            inputs = torch.cat([y.flatten(1), t.expand(len(y), 1), self.labels(label)], 1)
            return self.net(inputs).reshape(y.shape)

        def field(t, y):
            without = velocity(t, y, torch.full_like(label, 10))
            return without + 3.0 * (velocity(t, y, label) - without)

        return odeint(field, x, torch.linspace(0, 1, 5), method="midpoint")[-1]


def case_two_calls():
    return Case(TwoCalls(), (torch.randn(1, 1, 4, 4), torch.tensor([3])), {})
