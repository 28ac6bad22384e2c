"""An encoder that pools a series or a picture of any size to a fixed number of windows."""

import torch
from torch import nn
from torchdiffeq import odeint

from idioms import Case


class Encoded(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.encoder, self.slope = nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 4)), nn.Linear(4, 4)

    def forward(self, x):
        times = torch.linspace(0.0, 1.0, 3)
        return odeint(lambda t, y: torch.tanh(self.slope(y)), self.encoder(x), times, method="rk4")[-1]


def case_series():
    model = Encoded(nn.Conv1d(2, 8, 3, padding=1), nn.AdaptiveAvgPool1d(3))
    return Case(model, (torch.randn(4, 2, 9),), {"x": {0: "batch", 2: "length"}})


def case_pictures():
    model = Encoded(nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveAvgPool2d((3, 2)))
    return Case(model, (torch.randn(4, 2, 9, 8),), {"x": {0: "batch", 2: "height", 3: "width"}})


def case_pictures_of_one_size():
    return Case(Encoded(nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveAvgPool2d((3, 2))), (torch.randn(4, 2, 7, 8),))


def case_halves():
    return Case(Encoded(nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveAvgPool2d((3, 2))), (torch.randn(4, 2, 6, 8),))


def case_means_of_pictures():
    model = Encoded(nn.Conv2d(2, 24, 3, padding=1), nn.AdaptiveAvgPool2d((1, 1)))
    return Case(model, (torch.randn(4, 2, 9, 8),), {"x": {0: "batch", 2: "height", 3: "width"}})
