"""What it costs, and what it is worth, to give each sample of a batch its own steps.

The benchmark solves a batch of 64, in which some samples are harder than the others, by dopri5: as a whole and per
sample, in the forms adaptive and driven. It prints two tables for docs/serving.md, in half a minute on one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchdiffeq
from torch import nn

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export

BATCH, WIDTH, REPEATS = 64, 64, 15


class Flow(nn.Module):
    """A solve whose field turns each sample at a pace of its own: the larger the pace, the harder the sample."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2)
        )

    def forward(self, y: torch.Tensor, pace: torch.Tensor) -> torch.Tensor:
        def slope(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            turn = torch.stack([y[:, 1], -y[:, 0]], dim=1)
            return pace * turn + self.net(y) * torch.cos(t)

        times = torch.tensor([0.0, 1.0], dtype=y.dtype)
        return torchdiffeq.odeint(slope, y, times, rtol=1e-5, atol=1e-6)[-1]


def batch(hard: int, dtype: str) -> list[np.ndarray]:
    """States (64, 2) and paces (64, 1) of a batch whose first `hard` samples are hard."""
    generator = np.random.default_rng(0)
    pace = np.ones((BATCH, 1))
    pace[:hard] = 60
    return [generator.normal(size=(BATCH, 2)).astype(dtype), pace.astype(dtype)]


def artifacts(folder: Path, dtype: torch.dtype) -> dict[str, odelet.Model]:
    """The loaded model by form, as a whole batch and per sample."""
    example = (torch.randn(4, 2, dtype=dtype), torch.rand(4, 1, dtype=dtype))
    dynamic = {"y": {0: "batch"}, "pace": {0: "batch"}}
    models = {}
    for form in ("adaptive", "driven"):
        for per_sample in (False, True):
            name = f"{form}, {'per sample' if per_sample else 'whole batch'}"
            out = folder / name.replace(", ", "_").replace(" ", "_")
            export(Flow().to(dtype), example, out, form=form, per_sample=per_sample, dynamic=dynamic, samples=1)
            models[name] = odelet.load(out, threads=1)
    return models


def timed(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median milliseconds of each call, by name; the calls are interleaved."""
    return {name: 1e3 * latency.median for name, latency in interleaved(calls, turns=(REPEATS, REPEATS)).items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = artifacts(Path(folder) / "32", torch.float32)
        print("| one call, batch 64, milliseconds | none hard | one hard | half hard |\n|---|---|---|---|")
        columns = []
        for hard in (0, 1, BATCH // 2):
            x = batch(hard, "float32")
            columns.append(timed({name: lambda m=m, x=x: m(*x) for name, m in models.items()}))
        for name in models:
            print(f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |")
        print("\n| largest difference of a sample among 63 others from itself alone | steps | values |\n|---|---|---|")
        for dtype in ("float64", "float32"):
            models = artifacts(Path(folder) / dtype, getattr(torch, dtype))
            x = batch(1, dtype)
            for name, model in models.items():
                together = model.solve(*x)
                alone = [model.solve(*(part[i : i + 1] for part in x)) for i in range(BATCH)]
                (stats,) = together.stats.solves
                steps_alone = [solution.stats.solves[0].steps for solution in alone]
                steps_together = stats.samples.steps if stats.samples is not None else [stats.steps] * BATCH
                steps = max(abs(a - b) for a, b in zip(steps_together, steps_alone, strict=True))
                (output,) = together.outputs.values()
                values = max(
                    np.abs(output[i] - next(iter(solution.outputs.values()))[0]).max()
                    for i, solution in enumerate(alone)
                )
                print(f"| {name}, {dtype} | {steps} | {values:.1e} |")


if __name__ == "__main__":
    main()
