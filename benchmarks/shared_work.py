"""What is saved where evaluations of a field share their work. Writes results/shared_work.json.

The first parts compare exports with and without rewrites, where a field computes something from the time alone. Those
of calls that are joined compare exports with and without the rewrite that joins them, for each batch as a fixed size.
The others, for guidance, compare two models: one calls a network with a label and without, and one calls it once with
both batches joined, as its user may write it. Two ways run in turns, on one thread; times are those of the processor
for this thread, so that other work on the machine counts little. All weights are random.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import thread_time
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchdiffeq import odeint
from transformer import GuidedTokens
from unet import UNet

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export
from odelet_export.graphs.rewrite import roster
from odelet_export.graphs.rewrite.joined_calls import JOINED_CALLS

WIDTH = 512
ALL_REWRITES = roster.REWRITES


class Embedded(nn.Module):
    """A field of 64 numbers, 512 wide, with an embedding of the time: of one time, or of one for each batch row."""

    def __init__(self, *, rows: bool) -> None:
        super().__init__()
        self.rows = rows
        self.time = nn.Sequential(nn.Linear(128, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.inside, self.middle, self.outside = nn.Linear(64, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 64)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        times = t.expand(len(y)) if self.rows else t.reshape(1)
        angles = times[:, None] * torch.exp(-math.log(10000) * torch.arange(64) / 64)
        embedding = self.time(torch.cat([angles.cos(), angles.sin()], -1))
        out: Tensor = self.outside(F.silu(self.middle(F.silu(self.inside(y) + embedding))))
        return out


class Hypernetwork(nn.Module):
    """A field of 64 numbers with one hidden layer of 64, whose weights one linear layer makes from the time, as
    HyperLinear of FFJORD."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 64 * 64 + 64), nn.Linear(1, 64 * 64 + 64)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        first, second = self.first(t.reshape(1)), self.second(t.reshape(1))
        hidden = torch.tanh(y @ first[: 64 * 64].view(64, 64) + first[64 * 64 :])
        return hidden @ second[: 64 * 64].view(64, 64) + second[64 * 64 :]


class SmallHypernetwork(nn.Module):
    """The field of torchdiffeq's example cnf.py, without the trace: 32 wide, for 64 units of a state of 2 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3 * 128 + 64)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        made = self.layers(t.reshape(1, 1)).reshape(-1)
        inside, outside = made[:128].reshape(64, 2, 1), made[128:256].reshape(64, 1, 2)
        gate, bias = made[256:384].reshape(64, 1, 2), made[384:].reshape(64, 1, 1)
        hidden = torch.tanh(torch.matmul(y.unsqueeze(0).repeat(64, 1, 1), inside) + bias)
        return torch.matmul(hidden, outside * torch.sigmoid(gate)).mean(0)


class Guided(nn.Module):
    """A field that calls a network with a label and without. joined: whether in one call of both batches."""

    def __init__(self, velocity: Callable[[Tensor, Tensor, Tensor], Tensor], *, joined: bool) -> None:
        super().__init__()
        self.velocity, self.joined = velocity, joined

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        label = torch.ones(x.shape[0], dtype=torch.long)
        if self.joined:
            both = self.velocity(t, torch.cat([x, x]), torch.cat([label, torch.zeros_like(label)]))
            with_label, without = both.chunk(2)
        else:
            with_label, without = self.velocity(t, x, label), self.velocity(t, x, torch.zeros_like(label))
        return without + 2.0 * (with_label - without)


class Labelled(nn.Module):
    """A network of 64 numbers, the time and a label, 512 wide."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(2, 16)
        self.layers = nn.Sequential(
            nn.Linear(81, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 64)
        )

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([x, self.label(label), t.expand(x.shape[0], 1)], 1))
        return out


class LabelledUNet(nn.Module):
    """A U-Net of images, the time and a label."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.label = UNet(), nn.Embedding(2, 4)

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        out: Tensor = self.net(t, x + self.label(label)[:, :, None, None])
        return out


class Tokens(GuidedTokens):
    """A transformer of tokens, the time and a label."""

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        return self.velocity(t, x, label)


class Solved(nn.Module):
    """A solve of a field from 0 to 4 by dopri5, or by ten steps of euler."""

    def __init__(self, field: nn.Module, *, adaptive: bool) -> None:
        super().__init__()
        self.field, self.adaptive = field, adaptive

    def forward(self, x: Tensor) -> Tensor:
        if self.adaptive:
            path: Tensor = odeint(self.field, x, torch.tensor([0.0, 4.0]), method="dopri5", rtol=1e-5, atol=1e-6)
        else:
            path = odeint(self.field, x, torch.linspace(0, 1, 11), method="euler")
        return path[-1]


@dataclass(frozen=True)
class Case:
    """A field. shape: of one batch row. forms: in which it is exported. guided: whether `build` makes a network that is
    called twice, for guidance. joined: whether the export joins the two calls, or else the model."""

    title: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batches: tuple[int, ...]
    forms: tuple[str, ...] = ("adaptive", "driven")
    guided: bool = False
    joined: bool = False


EULER = ("rolled",)
CASES = {
    "embedding": Case("embedding of one time", lambda: Embedded(rows=False), (64,), (1, 64)),
    "embedding-rows": Case("embedding of a time for each row", lambda: Embedded(rows=True), (64,), (1, 64)),
    "hypernetwork": Case("hypernetwork, 8320 weights", Hypernetwork, (64,), (1, 64)),
    "small-hypernetwork": Case("hypernetwork of cnf.py", SmallHypernetwork, (2,), (1, 64)),
    "joined-mlp": Case("MLP, 512 wide", Labelled, (64,), (1, 2, 3, 4, 8), EULER, True, True),
    "joined-8": Case("transformer, 8 tokens", lambda: Tokens(tokens=8), (8, 16), (1,), EULER, True, True),
    "guided-mlp": Case("MLP, 512 wide", Labelled, (64,), (1, 2, 3, 4, 16, 256), EULER, True),
    "guided-8": Case("transformer, 8 tokens", lambda: Tokens(tokens=8), (8, 16), (1, 4), EULER, True),
    "guided-50": Case("transformer, 50 tokens", lambda: Tokens(tokens=50), (50, 16), (1, 4), EULER, True),
    "guided-200": Case("transformer, 200 tokens", lambda: Tokens(tokens=200), (200, 16), (1,), EULER, True),
    "guided-unet": Case("U-Net", LabelledUNet, (4, 16, 16), (1, 8), EULER, True),
}


def exported(case: Case, form: str, way: str, batch: int | None) -> odelet.Model:
    """The artifact of one way. batch: a fixed size, or None for a free one."""
    torch.manual_seed(0)
    field = case.build()
    field = Guided(field, joined=way == "together" and not case.joined) if case.guided else field
    model = Solved(field, adaptive=form not in EULER).eval()
    example, dynamic = torch.randn(batch or 3, *case.shape), {} if batch else {"x": {0: "batch"}}
    folder, rewrite = record.OUT / "shared_work" / way, case.guided or way == "together"
    if case.joined and way == "apart":
        roster.REWRITES = tuple(one for one in ALL_REWRITES if one is not JOINED_CALLS)
    try:
        export(model, (example,), folder, dynamic=dynamic, form=form, samples=1, quick=True, rewrite=rewrite)
    finally:
        roster.REWRITES = ALL_REWRITES
    return odelet.load(folder, threads=1)


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each form and batch: the times of both ways, and the median of the ratios of turns."""
    torch.set_num_threads(1)
    case, ways = CASES[name], ("apart", "together")
    for form in case.forms:
        artifacts = {} if case.joined else {way: exported(case, form, way, None) for way in ways}
        for batch in case.batches:
            if case.joined:
                artifacts = {way: exported(case, form, way, batch) for way in ways}
            x = torch.randn(batch, *case.shape).numpy()
            latencies = interleaved(
                {way: (lambda artifact=artifact, x=x: artifact(x)) for way, artifact in artifacts.items()},
                seconds=0.5 if quick else 4,
                turns=(5 if quick else 15, 500),
                warmup=2,
                clock=thread_time,
            )
            yield {
                "title": case.title,
                "guided": case.guided,
                "joined": case.joined,
                "form": form,
                "batch": batch,
                **{way: record.milliseconds(latency) for way, latency in latencies.items()},
                "over": round(latencies["together"].over(latencies["apart"]), 2),
                "load": round(os.getloadavg()[0], 1),
            }


if __name__ == "__main__":
    record.run("shared_work", measure, CASES, __doc__)
