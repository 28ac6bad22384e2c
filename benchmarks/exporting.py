"""What an export costs: its time by stage, the size of its graphs, and the time to load them.

Writes results/exporting.json. An export is timed as a run of its command in a fresh process.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
from record import OUT, ROOT
from artifacts import exported
from workloads import DRIVES, FIXED

import odelet
from odelet.artifact.folder import check
from odelet.commands.latency import interleaved
from odelet.engine.session import open_session

DIGITS = (
    *("odelet_models.odenet:digits", "-w", str(ROOT / "models/odelet_models/weights/odenet.safetensors")),
    *("--input", "x=float32[batch,64]:0..16", "--json"),
)


def _stages(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the seconds of each stage of an export, for each form."""
    for form in DRIVES:
        runs, walls = [], []
        for _ in range(1 if quick else 3):
            command = [sys.executable, "-m", "odelet.cli", "export", *DIGITS, "--form", form]
            start = perf_counter()
            process = subprocess.run(
                [*command, "-o", str(OUT / f"digits-command-{form}")], check=True, capture_output=True, text=True
            )
            walls.append(perf_counter() - start)
            runs.append(json.loads(process.stdout)["seconds"])
        seconds = {stage: round(median(run[stage] for run in runs), 3) for stage in runs[0]}
        odelet_stages = [seconds[stage] for stage in ("lift", "lower", "check")]
        yield {
            "form": form,
            "runs": len(runs),
            "seconds": seconds,
            "whole_process": round(median(walls), 2),
            "lift_lower_check": round(sum(odelet_stages), 3),
        }


def _transformer(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the seconds of each stage of an export of a sampler with a large transformer, on all cores.

    cpu: the seconds of all cores together, which other programs on the machine hardly change.
    """
    environment = {name: text for name, text in os.environ.items() if name not in record.ONE_THREAD}
    name = "small_sampler" if quick else "sampler"
    command = [sys.executable, "-m", "odelet.cli", "export", f"{ROOT / 'benchmarks/transformer.py'}:{name}", "--json"]
    command += ["--input", "z=float32[batch,4,16,16]", "--input", "y=int64[batch]:0..9"]
    start, cpu = perf_counter(), _children_cpu()
    process = subprocess.run(
        [*command, "-o", str(OUT / name)], check=True, capture_output=True, text=True, env=environment
    )
    yield {
        "model": name,
        "seconds": json.loads(process.stdout)["seconds"],
        "whole_process": round(perf_counter() - start, 2),
        "cpu": round(_children_cpu() - cpu, 2),
    }


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sizes(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the size of the graphs of each form, and how much of it is not weights, in kB."""
    from odelet_models.odenet import digits_pretrained

    weights = sum(p.numel() * p.element_size() for p in digits_pretrained().parameters())
    for form in (*DRIVES, *FIXED):
        changes = {"method": "rk4", "steps": 4} if form in FIXED else {}
        folder = exported("digits", form, **changes).folder
        graphs = sum(f.stat().st_size for f in folder.iterdir() if f.suffix in (".onnx", ".bin"))
        yield {
            "form": form,
            "graphs_kB": graphs / 1e3,
            "weights_kB": weights / 1e3,
            "more_kB": (graphs - weights) / 1e3,
        }


def _loading(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the time to open the session of a long straight graph, and to load its artifact."""
    folder = exported("rk4-128", "unrolled").folder
    ((name, source),) = check(folder).graphs.items()
    calls = {"session": lambda: open_session(source.data, name=name), "load": lambda: odelet.load(folder)}
    latencies = interleaved(calls, seconds=2 if quick else 6, turns=(3, 50), warmup=1)
    for what, latency in latencies.items():
        yield {"what": what, **record.milliseconds(latency)}


PARTS = {"stages": _stages, "transformer": _transformer, "sizes": _sizes, "loading": _loading}


def measure(part: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part, a name in PARTS."""
    yield from PARTS[part](quick=quick)


if __name__ == "__main__":
    record.run("exporting", measure, PARTS, __doc__)
