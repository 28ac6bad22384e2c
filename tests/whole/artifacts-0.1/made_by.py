"""The script that made these artifacts, with odelet 0.1.0 as it was before the packages were divided into rooms.

It is kept to show what is in them. Do not run it again: artifacts of an older odelet are what is tested here.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchdiffeq import odeint, odeint_event

from odelet_export import export, mark

BATCH = {0: "batch"}


class Adaptive(nn.Module):
    """Nested inputs, drawn noise, an assumption, and a solve with error control."""

    def __init__(self):
        super().__init__()
        self.field = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, batch):
        x = batch["x"] + 0.1 * torch.randn_like(batch["x"])
        if batch["scale"] > 0:
            x = x * batch["scale"]
        t = torch.tensor([0.0, 0.5, 1.0])
        return {"path": odeint(lambda t, y: self.field(y), x, t, rtol=1e-4, atol=1e-5)}


class UntilEvent(nn.Module):
    """A solve that ends at an event, then another one, driven; weights that several graphs share."""

    def __init__(self):
        super().__init__()
        self.field = nn.Sequential(nn.Linear(2, 128), nn.Tanh(), nn.Linear(128, 2))

    def forward(self, y0):
        def fall(t, y):
            return torch.stack([y[1], y[1] * 0 - 9.81])

        time, path = odeint_event(fall, y0, torch.tensor(0.0), event_fn=lambda t, y: y[0], atol=1e-6, rtol=1e-6)
        after = odeint(lambda t, y: self.field(y), path[-1], torch.tensor([0.0, 1.0]))
        return time, after[-1]


class Steps(nn.Module):
    """Fixed steps of an implicit method to times that are an input."""

    def forward(self, y0, t):
        return odeint(
            lambda t, y: -5 * (y - torch.cos(t)),
            y0,
            t,
            method="implicit_adams",
            options={"step_size": 0.05, "max_iters": 30},
        )


class Equilibrium(nn.Module):
    """A marked fixed point, each sample on its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        with torch.no_grad():
            self.inner.weight.mul_(0.5)

    def forward(self, x):
        return mark(lambda z: torch.tanh(self.inner(z) + x), torch.zeros_like(x), method="anderson", per_sample=True)


class Bounded(nn.Module):
    """A field of its own for each sample, along a grid found on data."""

    def forward(self, y0, w):
        t = torch.tensor([0.0, 0.7, 2.0])
        return odeint(lambda t, y: torch.tanh(torch.einsum("bij,bj->bi", w, y)), y0, t, rtol=1e-3, atol=1e-3)


def make(out: Path) -> None:
    torch.manual_seed(0)
    example = {"x": torch.rand(2, 3), "scale": torch.tensor(1.5)}
    export(Adaptive(), (example,), out / "adaptive", form="adaptive", dynamic={"batch.x": BATCH})
    export(UntilEvent(), (torch.tensor([3.0, 1.0]),), out / "driven", form="driven")
    export(
        Steps(),
        (torch.rand(2).double(), torch.linspace(0, 1, 3).double()),
        out / "rolled",
        form="rolled",
        dynamic={"t": {0: "n"}},
    )
    export(Equilibrium(), (torch.rand(2, 4),), out / "fixed-point", dynamic={"x": BATCH})
    generator = np.random.default_rng(0)
    data = {"y0": generator.normal(size=(24, 3)), "w": generator.normal(size=(24, 3, 3))}
    data = {name: array.astype(np.float32) for name, array in data.items()}
    export(
        Bounded(),
        tuple(torch.from_numpy(array[:2]) for array in data.values()),
        out / "bounded",
        form="bounded",
        dynamic={"y0": BATCH, "w": BATCH},
        calibration=data,
        quantile=0.9,
        fallback=True,
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
