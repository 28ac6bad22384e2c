"""How fast a library of an artifact is, beside ONNX Runtime and diffrax. Writes results/native.json.

All run on one thread, in turns, on the same model, weights, inputs and tolerances: the library of `odelet build
--target native`, the form `adaptive` with ONNX Runtime, `loop_free` driven by Python, and diffrax, jitted. A turn of
each is as many calls as take a millisecond, or one. Times are those of the processor that this process used, so that
other work on the machine does not count; its load is in the results.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from peers import Missing, diffrax
from workloads import SMALL, WORKLOADS

import odelet
from odelet.commands.latency import Latency, interleaved
from odelet_export import build, export

# The workloads, and the batches at which each is timed; a library is for one batch.
CASES = {"readme": (1, 256), "spiral": (1, 16, 256, 1024, 4096), "mlp": (1, 4, 16, 64), "latent": (1,)}
# The seconds of a turn. A call of some microseconds is slower where another way has used the caches just before.
TURN = 1e-3


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch: the time of each way, and the medians of its ratios to the library's in the turns."""
    torch.set_num_threads(1)
    workload = (WORKLOADS | SMALL)[name]
    model = workload.build()
    for batch in CASES[name]:
        x = workload.inputs(batch)
        folder = record.OUT / f"native-{name}-{batch}"
        example = (torch.from_numpy(x),)
        export(model, example, folder / "c", profile="c", samples=1)
        built = build(folder / "c", "native", folder / "library").built
        for form in ("adaptive", "loop_free"):
            export(model, example, folder / form, form=form, samples=1)
        library = odelet.load(folder / "c", engine="native", library=folder / "library")
        ways: dict[str, Callable[[], object]] = {"native": partial(library, x)}
        for form in ("adaptive", "loop_free"):
            ways[form] = partial(odelet.load(folder / form, threads=1), x)
        with contextlib.suppress(Missing):
            ways["diffrax"] = diffrax(model, x).call
        settings = {"seconds": 4 if quick else 20, "turns": (3 if quick else 5, 500)}
        counts = {way: _in_a_turn(call) for way, call in ways.items()}
        turns = {way: partial(_repeat, call, counts[way]) for way, call in ways.items()}
        latencies = {
            way: Latency(tuple(seconds / counts[way] for seconds in latency.seconds))
            for way, latency in interleaved(turns, **settings, warmup=2, clock=process_time).items()
        }
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


def _in_a_turn(call: Callable[[], object]) -> int:
    """How many calls take as long as a turn."""
    _repeat(call, 3)
    start = process_time()
    _repeat(call, 5)
    return max(1, round(TURN / max((process_time() - start) / 5, 1e-6)))


def _repeat(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()


if __name__ == "__main__":
    record.run("native", measure, CASES, __doc__)
