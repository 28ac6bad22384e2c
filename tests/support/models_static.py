"""Models whose arrays all have fixed sizes, for targets without an engine; each a function that gives the model, an
example call, and settings of its export."""

from __future__ import annotations

import torch
from torch import nn
from torchdiffeq import odeint

TIMES = torch.tensor([0.0, 0.3, 1.0])


class Field(nn.Module):
    """A small field that reads time. activation: of its hidden layer."""

    def __init__(self, width=3, activation=nn.Tanh):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 10), activation(), nn.Linear(10, width))

    def forward(self, t, y):
        return self.net(y) * torch.sin(t + 1)


class Single(nn.Module):
    """One solve of one state."""

    def __init__(self, field=None, times=TIMES, **options):
        super().__init__()
        self.field, self.options = field or Field(), options
        self.register_buffer("times", times)

    def forward(self, x):
        return odeint(self.field, x, self.times, **self.options)


class Several(nn.Module):
    """Two solves with tolerances of their own, of which one has a state of two parts; two inputs and outputs in a
    dict."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Field(), Field(activation=nn.Softplus)

    def forward(self, x, scale):
        middle = odeint(self.first, x * scale, TIMES, rtol=1e-3, atol=1e-4, method="bosh3")[-1]

        def pair(t, parts):
            y, total = parts
            return self.second(t, y), y.sum(-1, keepdim=True) - total

        start = (middle, torch.zeros(middle.shape[0], 1))
        y, total = odeint(pair, start, TIMES.flip(0), rtol=1e-4, atol=1e-5, method="bosh3")
        return {"middle": middle, "last": y[-1].softmax(-1), "totals": total}


class Image(nn.Module):
    """A convolution of an image as a field, and a layer after the solve."""

    def __init__(self):
        super().__init__()
        self.field = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 2, 3, padding=1)
        )
        self.head = nn.Linear(2 * 36, 4)

    def forward(self, x):
        y = odeint(lambda t, y: self.field(y), x, torch.tensor([0.0, 1.0]), method="midpoint")[-1]
        return self.head(y.flatten(1))


def unrolled():
    return Single(method="rk4"), (torch.rand(1, 3),), {}


def rolled():
    options = {"step_size": 0.05}
    return (
        Single(Field(activation=nn.Sigmoid), method="midpoint", options=options),
        (torch.rand(2, 3),),
        {"form": "loop_free"},
    )


def bounded():
    calibration = {"x": torch.rand(8, 1, 3)}
    return Single(rtol=1e-3, atol=1e-4), (torch.rand(1, 3),), {"form": "bounded", "calibration": calibration}


def adaptive():
    return Single(), (torch.rand(1, 3),), {}


def batch():
    return Single(Field(activation=nn.ELU), TIMES.flip(0), rtol=1e-4, atol=1e-5), (torch.rand(8, 3),), {}


def several():
    return Several(), (torch.rand(2, 3), torch.tensor(1.5)), {}


def image():
    return Image(), (torch.rand(1, 2, 6, 6),), {}


STATIC = {one.__name__: one for one in (unrolled, rolled, bounded, adaptive, batch, several, image)}
