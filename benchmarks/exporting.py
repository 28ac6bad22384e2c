"""What an export costs and leaves: its time by stage, the size of the graphs, and how fast they load.

Writes results/exporting.json. An export is timed as its command, in a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import Any

import record  # first, for the threads
from record import OUT, ROOT
from artifacts import exported
from workloads import DRIVES, FIXED

import odelet
from odelet.artifact.folder import check
from odelet.commands.latency import interleaved
from odelet.engine.session import open_session

DIGITS = (
    *("odelet_models.odenet:digits", "-w", str(ROOT / "models/pretrained/odenet-digits.safetensors")),
    *("--input", "x=float32[batch,64]:0..16", "--json"),
)


def _stages(*, quick: bool) -> Iterator[dict[str, Any]]:
    for form in DRIVES:
        runs, walls = [], []
        for _ in range(1 if quick else 3):
            command = [sys.executable, "-m", "odelet.cli", "export", *DIGITS, "--form", form]
            start = perf_counter()
            done = subprocess.run(
                [*command, "-o", str(OUT / f"digits-command-{form}")], check=True, capture_output=True, text=True
            )
            walls.append(perf_counter() - start)
            runs.append(json.loads(done.stdout)["seconds"])
        seconds = {stage: round(median(run[stage] for run in runs), 3) for stage in runs[0]}
        made = {stage: seconds[stage] for stage in ("lift", "lower", "check")}
        yield {
            "form": form,
            "runs": len(runs),
            "seconds": seconds,
            "whole_process": round(median(walls), 2),
            "lift_lower_check": round(sum(made.values()), 3),
        }


def _sizes(*, quick: bool) -> Iterator[dict[str, Any]]:
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
    folder = exported("rk4-128", "unrolled").folder
    ((name, source),) = check(folder).graphs.items()
    calls = {"session": lambda: open_session(source, name=name), "load": lambda: odelet.load(folder)}
    taken = interleaved(calls, seconds=2 if quick else 6, turns=(3, 50), warmup=1)
    for what, latency in taken.items():
        yield {"what": what, **record.milliseconds(latency)}


PARTS = {"stages": _stages, "sizes": _sizes, "loading": _loading}


def measure(part: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    yield from PARTS[part](quick=quick)


if __name__ == "__main__":
    record.run("exporting", measure, PARTS, __doc__)
