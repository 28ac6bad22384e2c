"""Compares the runtime of this checkout with that of another one, call by call, on the same artifacts.

Each checkout runs in a process of its own. The processes take turns, so that a disturbance of the machine meets both;
the ratio is the median over the turns. Nothing is written: the table is printed.

    python benchmarks/paired.py ../odelet-before --only spiral --turns 60
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import numpy as np
from artifacts import exported
from workloads import WORKLOADS

# What a process does with each line that it reads: load an artifact, or time calls of the artifact that it loaded last.
WORKER = """
import json, sys
from time import perf_counter
import numpy as np
import odelet
for line in sys.stdin:
    task = json.loads(line)
    if "load" in task:
        model = odelet.load(task["load"], threads=1)
        x = np.load(task["x"])
        model(x), model(x)
        print(json.dumps(odelet.__file__), flush=True)
        continue
    start = perf_counter()
    for _ in range(task["calls"]):
        model(x)
    print(json.dumps((perf_counter() - start) / task["calls"]), flush=True)
"""


class Side:
    """A process that runs one checkout of odelet."""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, **record.ONE_THREAD, "PYTHONPATH": str(root / "runtime")}
        command = [sys.executable, "-c", WORKER]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, task: Mapping[str, Any]) -> Any:
        """The answer to one task."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(names: list[str], roots: tuple[Path, Path], *, turns: int, block: float) -> Iterator[dict[str, Any]]:
    """Yield a row for each workload, batch and form. block: how long the calls of one turn take about, in seconds."""
    sides = [Side(root) for root in roots]
    for name in names:
        workload = WORKLOADS[name]
        for form in workload.forms:
            artifact = exported(name, form)
            for batch in workload.batches:
                inputs = record.OUT / f"{name}-{batch}.npy"
                np.save(inputs, workload.inputs(batch))
                places = [side.ask({"load": str(artifact.folder), "x": str(inputs)}) for side in sides]
                assert all(Path(place).is_relative_to(root) for place, root in zip(places, roots, strict=True)), places
                calls = max(1, int(block / sides[0].ask({"calls": 1})))
                times = np.array([[side.ask({"calls": calls}) for side in sides] for _ in range(turns)])
                medians = np.median(times, axis=0) * 1e3
                ratio = float(np.median(times[:, 0] / times[:, 1]))
                row = {"workload": name, "form": form, "batch": batch, "ms": medians[0], "other_ms": medians[1]}
                yield {**row, "ratio": ratio}
    for side in sides:
        side.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("other", type=Path, help="the folder of the other checkout")
    parser.add_argument("--only", choices=list(WORKLOADS), action="append", help="compare this workload only")
    parser.add_argument("--turns", type=int, default=40, help="how often each side is timed")
    parser.add_argument("--block", type=float, default=0.05, help="seconds of calls in one turn of one side")
    arguments = parser.parse_args()
    roots = (record.ROOT, arguments.other.resolve())
    ratios = []
    for row in compare(arguments.only or list(WORKLOADS), roots, turns=arguments.turns, block=arguments.block):
        ratios.append(row["ratio"])
        print(
            f"{row['workload']:10} {row['form']:9} {row['batch']:5}  {row['ms']:9.3f} ms  {row['other_ms']:9.3f} ms  "
            f"ratio {row['ratio']:.3f}",
            flush=True,
        )
    print(f"ratios: median {np.median(ratios):.3f}, least {min(ratios):.3f}, largest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
