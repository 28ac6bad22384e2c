"""How fast the two ways are in which the runtime takes steps, `driven` and `loop_free`. Writes results/driving.json.

In the form `driven` a loop in Python asks a graph for each attempted step and decides what follows; in `loop_free` the
graph decides, and the runtime repeats it. All calls of a part are timed in turns, by the processor time of this
process, so that other work on the machine does not count.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from time import process_time
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import numpy as np
import torch
from solved import Layers, short_spiral
from stochastic import WIDTH, Stochastic
from torch import Tensor, nn
from workloads import WORKLOADS, points

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export, mark

WAYS = ("driven", "loop_free")


class Equilibrium(nn.Module):
    """A fixed point of a network with one layer inside, by Anderson's iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Layers(20, 100, 20, gain=0.9)

    def forward(self, x: Tensor) -> Tensor:
        return mark(lambda z: torch.tanh(self.net(None, z) + x), torch.zeros_like(x), method="anderson")


@dataclass(frozen=True)
class Case:
    """A solve to time. build: makes the torch model. inputs: makes an input of a batch size. options: of the export."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any]
    batches: tuple[int, ...]
    options: dict[str, Any]


def _of_workload(name: str, batches: tuple[int, ...]) -> Case:
    workload = WORKLOADS[name]
    return Case(workload.build, workload.inputs, batches, {})


CASES = {
    "spiral": _of_workload("spiral", (1, 256, 4096)),
    "digits": _of_workload("digits", (1, 64)),
    "latent": _of_workload("latent", (1, 64)),
    "spiral-per-sample": Case(WORKLOADS["spiral"].build, WORKLOADS["spiral"].inputs, (16, 256), {"per_sample": True}),
    "rk4-128": Case(short_spiral, partial(points, 2, norm=(1.5, 2.0)), (1, 256), {"method": "rk4", "steps": 128}),
    "fixed-point": Case(lambda: Equilibrium().eval(), partial(points, 20), (1, 256), {}),
    "euler-1000": Case(lambda: Stochastic("euler", 1000, 1 / 1024).eval(), partial(points, WIDTH), (1, 64), {}),
}


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch: the times of both ways, and the median of the ratios of the turns."""
    torch.set_num_threads(1)
    case = CASES[name]
    models = {}
    for way in WAYS:
        folder = record.OUT / f"driving-{name}-{way}"
        example = torch.from_numpy(case.inputs(3))
        settings = {"form": way, "dynamic": {"x": {0: "batch"}}, "samples": 1, **case.options}
        export(case.build(), (example,), folder, **settings)
        models[way] = odelet.load(folder, threads=1)
    for batch in case.batches:
        x = case.inputs(batch)
        noise = models["driven"].solve(x).noise
        first, second = (model.solve(x, **noise) for model in models.values())
        far = max(float(np.abs(first.outputs[key] - second.outputs[key]).max()) for key in first.outputs)
        calls = {way: partial(model, x, **noise) for way, model in models.items()}
        latencies = interleaved(calls, seconds=1 if quick else 8, turns=(5, 1000), warmup=2, clock=process_time)
        driven, loop_free = (latencies[way] for way in WAYS)
        yield {
            "batch": batch,
            "steps": [first.stats.steps, second.stats.steps],
            "difference": far,
            "driven": record.milliseconds(driven),
            "loop_free": record.milliseconds(loop_free),
            "loop_free_over_driven": round(loop_free.over(driven), 3),
            "load": round(os.getloadavg()[0], 1),
        }


if __name__ == "__main__":
    record.run("driving", measure, CASES, __doc__)
