"""How fast a library of an artifact is, beside ONNX Runtime and diffrax. Writes results/native.json.

All run on one thread, in turns, on the same model, weights, inputs and tolerances: the library of `odelet build
--target native`, the form `adaptive` with ONNX Runtime, `loop_free` driven by Python, and diffrax, jitted. Times are
those of the processor that this process used; the load of the machine is in the results.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from artifacts import native_code
from peers import Missing, diffrax
from turns import in_turns
from workloads import SMALL, WORKLOADS

import odelet
from odelet_export import export

# The workloads, and the batches at which each is timed; a library is for one batch.
CASES = {"readme": (1, 256), "spiral": (1, 16, 256, 1024, 4096), "mlp": (1, 4, 16, 64), "latent": (1,)}


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch: the time of each way, and the medians of its ratios to the library's in the turns."""
    torch.set_num_threads(1)
    workload = (WORKLOADS | SMALL)[name]
    model = workload.build()
    for batch in CASES[name]:
        x = workload.inputs(batch)
        folder = record.OUT / f"native-{name}-{batch}"
        library, built = native_code(model, (torch.from_numpy(x),), folder)
        for form in ("adaptive", "loop_free"):
            export(model, (torch.from_numpy(x),), folder / form, form=form, samples=1)
        ways: dict[str, Callable[[], object]] = {"native": partial(library, x)}
        for form in ("adaptive", "loop_free"):
            ways[form] = partial(odelet.load(folder / form, threads=1), x)
        with contextlib.suppress(Missing):
            ways["diffrax"] = diffrax(model, x).call
        latencies = in_turns(ways, seconds=4 if quick else 20, turns=(3 if quick else 5, 500))
        native = latencies["native"]
        yield {
            "batch": batch,
            "steps": library.solve(x).stats.solves[0].steps,
            "arena": built.arena,
            "weights": built.weights,
            "ms": {way: round(record.milliseconds(latency)["ms"]["p50"], 4) for way, latency in latencies.items()},
            "ratio": {way: round(native.over(latency), 4) for way, latency in latencies.items() if way != "native"},
            "load": round(os.getloadavg()[0], 1),
        }


if __name__ == "__main__":
    record.run("native", measure, CASES, __doc__)
