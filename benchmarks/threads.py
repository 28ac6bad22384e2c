"""How the time of a call depends on the threads inside an operator. Writes results/threads.json."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
from artifacts import exported
from workloads import DRIVES, WORKLOADS

from odelet.commands.latency import interleaved

COUNTS = sorted({1, 2, os.cpu_count() or 1})
NAMES = tuple(name for name, one in WORKLOADS.items() if one.open and set(DRIVES) <= set(one.forms))


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each form, batch and number of threads."""
    for form in DRIVES:
        artifact = exported(name, form)
        models = {count: artifact.load(threads=count) for count in COUNTS}
        for batch in WORKLOADS[name].batches:
            x = WORKLOADS[name].inputs(batch)
            calls = {str(count): lambda model=model, x=x: model(x) for count, model in models.items()}
            latencies = interleaved(calls, seconds=0.5 if quick else 3, turns=(5, 1000))
            for count in COUNTS:
                over = round(latencies[str(count)].over(latencies["1"]), 3)
                yield {"form": form, "batch": batch, "threads": count, "over_one": over} | record.milliseconds(
                    latencies[str(count)]
                )


if __name__ == "__main__":
    record.run("threads", measure, NAMES, __doc__)
