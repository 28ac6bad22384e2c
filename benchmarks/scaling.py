"""How the time of a solve grows with its steps, its batch and its state. Writes results/scaling.json.

There is one artifact for each form and part. In a log-log plot, a linear cost has the slope 1. The slope is fitted to
sizes at which the work outweighs the cost of a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import numpy as np
import torch
from record import OUT
from artifacts import exported
from solved import Array
from torch import Tensor, nn
from torchdiffeq import odeint
from workloads import DRIVES, WORKLOADS

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export

# The slope is fitted from the sizes in FITTED on.
ENDS = tuple(4.0**k for k in range(6))
BATCHES = tuple(4**k for k in range(8))
STATES = tuple(4**k for k in range(2, 11))
FITTED = {"steps": 30, "batch": 256, "state": 4**6}


class Until(nn.Module):
    """A swing up to a time that is an input. It takes the same number of steps in every second."""

    def forward(self, x: Tensor, end: Tensor) -> Tensor:
        times = torch.stack([torch.zeros_like(end), end])
        return odeint(swing, x, times, method="dopri5", rtol=1e-4, atol=1e-4)[-1]


def swing(t: Tensor, y: Tensor) -> Tensor:
    return torch.cos(t) * torch.sin(3 * y)


class Sized(nn.Module):
    """A state of any size whose elements all swing alike, so that the steps do not depend on the size."""

    def forward(self, x: Tensor) -> Tensor:
        times = torch.tensor([0.0, 10.0])
        return odeint(swing, x, times, method="dopri5", rtol=1e-4, atol=1e-4)[-1]


def _model(part: str, form: str) -> odelet.Model:
    folder = OUT / f"scaling-{part}-{form}"
    if part == "batch":
        return exported("spiral", form).load()
    model, more = (Until(), (torch.tensor(1.0),)) if part == "steps" else (Sized(), ())
    example = (torch.full((3,), 0.5), *more)
    export(model.eval(), example, folder, form=form, dynamic={"x": {0: "n"}}, samples=1)
    return odelet.load(folder, threads=1)


def _inputs(part: str) -> dict[float, tuple[Array, ...]]:
    if part == "steps":
        return {end: (np.full(16, 0.5, np.float32), np.float32(end)) for end in ENDS}
    if part == "batch":
        # Every row is the same point, so that the steps do not depend on the batch.
        return {batch: (np.repeat(WORKLOADS["spiral"].inputs(1), batch, axis=0),) for batch in BATCHES}
    return {size: (np.full(size, 0.5, np.float32),) for size in STATES}


def measure(part: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each form and size, and after them a row with the slope of the form."""
    torch.set_num_threads(1)
    models = {form: _model(part, form) for form in DRIVES}
    inputs = _inputs(part)
    calls = {
        (form, size): lambda model=model, x=x: model(*x) for form, model in models.items() for size, x in inputs.items()
    }
    latencies = interleaved(calls, seconds=2 if quick else 12, turns=(5, 500))  # type: ignore[type-var]  # keys are pairs
    for form, model in models.items():
        sizes, medians = [], []
        for size, x in inputs.items():
            steps = model.solve(*x).stats.steps
            # The length of a solve is its number of steps; the end time only leads to that number.
            shown = steps if part == "steps" else size
            sizes.append(float(shown))
            medians.append(latencies[form, size].median)
            yield {"form": form, "size": shown, "steps": steps, **record.milliseconds(latencies[form, size])}
        fitted = np.array(sizes) >= FITTED[part]
        slope = np.polyfit(np.log(np.array(sizes)[fitted]), np.log(np.array(medians)[fitted]), 1)[0]
        yield {"form": form, "slope": round(float(slope), 3), "from": FITTED[part]}


if __name__ == "__main__":
    record.run("scaling", measure, FITTED, __doc__)
