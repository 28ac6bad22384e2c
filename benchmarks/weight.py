"""What the runtime weighs on a device: the time to import it, and its resident memory. Writes results/weight.json.

Every measurement runs in a fresh Python process; measurements that are compared take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
from artifacts import exported

from odelet.commands.latency import Latency

IMPORT = """
import time
start = time.perf_counter()
import {module}{more}
print(time.perf_counter() - start)
"""
# getrusage will not do: a process inherits the peak of the process that started it.
MEMORY = """
import json
from pathlib import Path
def status(key):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024 / 1e6
import onnxruntime
before = status("VmRSS")
import numpy as np, odelet
model = odelet.load({folder!r})
model(np.full((1, 64), 8.0, np.float32))
print(json.dumps({{"onnxruntime_alone": before, "after_a_solve": status("VmRSS"), "peak": status("VmHWM")}}))
"""


def _child(code: str) -> Any:
    """What a fresh Python process prints when it runs `code`, read as JSON."""
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(process.stdout)


def _import(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the time to import each module, and its ratio to the import of onnxruntime."""
    # odelet imports its parts on first use. The last entry is the cost for a program that loads a model.
    names = {"onnxruntime": "", "odelet": "", "odelet, to load": "; odelet.load"}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(5 if quick else 25):
        for name, more in names.items():
            seconds = _child(IMPORT.format(module=name.split(",")[0], more=more))
            if turn > 0:  # The first turn fills the file cache.
                taken[name].append(seconds)
    latencies = {name: Latency(tuple(times)) for name, times in taken.items()}
    for name in names:
        ratio = round(latencies[name].over(latencies["onnxruntime"]), 3)
        yield {"module": name, **record.milliseconds(latencies[name]), "ratio": ratio}


def _memory(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the resident megabytes of a process that loads the digits model and solves once, for each form."""
    for form in ("adaptive", "driven"):
        code = MEMORY.format(folder=str(exported("digits", form).folder))
        runs = [_child(code) for _ in range(3 if quick else 9)]
        megabytes = {key: round(sorted(run[key] for run in runs)[len(runs) // 2], 1) for key in runs[0]}
        yield {"form": form, "megabytes": megabytes, "runs": len(runs)}


PARTS = {"import": _import, "memory": _memory}


def measure(part: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part, a name in PARTS."""
    yield from PARTS[part](quick=quick)


if __name__ == "__main__":
    record.run("weight", measure, PARTS, __doc__)
