"""How fast solves of SDEs are, beside torchsde's. Writes results/stochastic.json.

Both draw the noise of each call themselves, and both run on one thread, without gradients, in turns. odelet is also
timed with the noise given, which shows what drawing costs. Times are those of the processor that this process used, so
that other work on the machine does not count; its load is in the results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import process_time
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
import torchsde
from solved import Layers
from torch import Tensor, nn
from workloads import points

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export

WIDTH = 4


class Stochastic(nn.Module):
    """An SDE with diagonal noise, whose drift and diffusion are networks with one layer inside.

    steps: the number of steps, all of the length dt; 1 / dt is a power of 2, so that sums of dt are exact.
    """

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, method: str, steps: int, dt: float) -> None:
        super().__init__()
        self.method, self.dt = method, dt
        self.drift, self.spread = Layers(WIDTH, 64, WIDTH), Layers(WIDTH, 64, WIDTH, seed=1)
        self.register_buffer("times", torch.tensor([0.0, steps * dt]), persistent=False)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return self.drift(t, y)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.sigmoid(self.spread(t, y))

    def forward(self, x: Tensor) -> Tensor:
        return torchsde.sdeint(self, x, self.times, dt=self.dt, method=self.method)[-1]


@dataclass(frozen=True)
class Case:
    """A solve to time. form: the form that `auto` gives it. batches: the batch sizes."""

    method: str
    steps: int
    dt: float
    form: str
    batches: tuple[int, ...] = (1, 64, 1024)

    def build(self) -> Stochastic:
        """The torch model."""
        return Stochastic(self.method, self.steps, self.dt).eval()


CASES = {
    "euler-1000": Case("euler", 1000, 1 / 1024, "rolled"),
    "srk-1000": Case("srk", 1000, 1 / 1024, "rolled", (1, 64)),
    "euler-32": Case("euler", 32, 1 / 32, "unrolled"),
}


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch: the times of odelet and torchsde, and the median of the ratios of the turns."""
    torch.set_num_threads(1)
    case = CASES[name]
    model, folder = case.build(), record.OUT / f"sde-{name}"
    example = torch.from_numpy(points(WIDTH, 3))
    exported = export(model, (example,), folder, dynamic={"x": {0: "batch"}}, samples=1)
    (solve,) = exported.card.solves
    assert (solve.form, solve.steps) == (case.form, case.steps), (solve.form, solve.steps)
    artifact = odelet.load(folder, threads=1)
    for batch in case.batches:
        x = points(WIDTH, batch)
        settings = {"seconds": 3 if quick else 20, "turns": (3 if quick else 5, 500)}
        latencies = interleaved(_calls(artifact, model, x), **settings, warmup=1, clock=process_time)
        ours, theirs = latencies["odelet"], latencies["torchsde"]
        yield {
            "batch": batch,
            "form": case.form,
            "steps": case.steps,
            "odelet": record.milliseconds(ours),
            "given": record.milliseconds(latencies["odelet, noise given"]),
            "torchsde": record.milliseconds(theirs),
            "ratio": round(theirs.over(ours), 2),
            "load": round(os.getloadavg()[0], 1),
        }


def _calls(artifact: odelet.Model, model: nn.Module, x: Any) -> dict[str, Callable[[], object]]:
    """The calls that are compared."""
    noise, tensor = artifact.solve(x, seed=0).noise, torch.from_numpy(x)

    def in_torch() -> None:
        with torch.no_grad():
            model(tensor)

    return {
        "odelet": lambda: artifact(x),
        "odelet, noise given": lambda: artifact(x, **noise),
        "torchsde": in_torch,
    }


if __name__ == "__main__":
    record.run("stochastic", measure, CASES, __doc__)
