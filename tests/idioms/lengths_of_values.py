"""Sizes that come from values: the longest of some lengths, and a number of output times for a span of time."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)

    def forward(self, x, lens, span):
        mask = torch.arange(lens.max())[None] < lens[:, None]
        count = int((span[-1] - span[0]) * 5)
        times = torch.linspace(span[0].item(), float(span[-1]), count)
        y = odeint(
            lambda t, y: torch.tanh(self.net(y)) * mask[:, :, None], x[:, : int(lens.max())], times, method="rk4"
        )
        return y, span.mean().item()


def case():
    dynamic = {"x": {0: "batch"}, "lens": {0: "batch"}}
    return Case(Padded(), (torch.randn(3, 6, 3), torch.tensor([4, 2, 3]), torch.tensor([0.0, 0.5, 1.1])), dynamic)


class Lasting(nn.Module):
    """A model of speech: as long as the text or the recording needs, and at least `duration`."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 4)

    def forward(self, recording, text, duration):
        lens = torch.full((recording.shape[0],), recording.shape[1], dtype=torch.long)
        duration = torch.maximum(torch.maximum((text != -1).sum(-1), lens) + 1, duration)
        longest = duration.amax()
        given = nn.functional.pad(recording, (0, 0, 0, longest - recording.shape[1]))
        mask = (torch.arange(longest)[None] < duration[:, None])[..., None]
        y = torch.randn(recording.shape[0], longest, 4)
        return odeint(lambda t, y: torch.tanh(self.net(y) + given) * mask, y, torch.linspace(0, 1, 5), method="euler")[
            -1
        ]


def case_of_values_and_sizes():
    text = torch.tensor([[1, 2, 3, -1], [4, 2, -1, -1], [3, 3, 1, 2]])
    dynamic = {"recording": {0: "batch", 1: "frames"}, "text": {0: "batch", 1: "letters"}, "duration": {0: "batch"}}
    return Case(Lasting(), (torch.randn(3, 5, 4), text, torch.tensor([40, 38, 37])), dynamic)
