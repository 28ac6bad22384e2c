"""What it costs to read the solution at many output times. Writes results/outputs.json.

The workload is the spiral, whose steps do not depend on the output times. It is read at its end only, and at 1000
times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from record import OUT
from solved import Spiral, spiral
from workloads import DRIVES, WORKLOADS

import odelet
from odelet.commands.latency import interleaved
from odelet_export import export

READ_OUTS = (1, 1000)
BATCHES = (1, 64)


def measure(form: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch, for one form."""
    torch.set_num_threads(1)
    workload, models = WORKLOADS["spiral"], {}
    for count in READ_OUTS:
        times = torch.linspace(0.0, 25.0, count + 1)
        folder = OUT / f"spiral-{form}-{count}"
        example = torch.from_numpy(workload.inputs(3))
        model = Spiral(spiral().field, times).eval()
        export(model, (example,), folder, form=form, dynamic={"x": {0: "batch"}}, samples=1)
        models[count] = odelet.load(folder, threads=1)
    for batch in BATCHES:
        x = workload.inputs(batch)
        calls = {str(count): lambda model=model, x=x: model(x) for count, model in models.items()}
        latencies = interleaved(calls, seconds=1 if quick else 8, turns=(5, 1000))
        once, often = (latencies[str(count)] for count in READ_OUTS)
        steps = [models[count].solve(x).stats.steps for count in READ_OUTS]
        yield {
            "batch": batch,
            "once": record.milliseconds(once),
            "often": record.milliseconds(often),
            "read_outs": READ_OUTS[1],
            "ratio": round(often.over(once), 3),
            "steps": steps,
        }


if __name__ == "__main__":
    record.run("outputs", measure, DRIVES, __doc__)
