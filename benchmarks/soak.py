"""Whether memory grows: calls each form in turn for an hour, and prints the slope of resident memory for each.

    python benchmarks/soak.py                   # an hour
    python benchmarks/soak.py --minutes 3
    python benchmarks/soak.py --corpus DIR      # the artifacts in DIR in place of the exports of the model of digits

Each artifact has two processes, which hold no torch and take turns: one calls the model, at other batch sizes than in
the turn before where the model takes them, with solves and refused arguments among the calls; the other one loads the
artifact again and again, each time with one call. After each turn the process says how much memory it holds. The first
fifth of the time is left out. The rest is divided into segments; the slope is the mean of theirs, and its error the
standard error of that mean.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

import odelet
from odelet.artifact.samples import samples_of

CALLS, LOADS, SEGMENTS, WARM = 20, 2, 8, 0.2
BATCHES = (1, 2, 3, 5, 8, 13)
LIBC = ctypes.CDLL(None)
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """The resident memory of this process, in bytes, after free memory has gone back to the system.

    Without this, memory that one turn frees and the next one takes again counts for both.
    """
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):  # glibc has it
        LIBC.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def calls_of(folder: Path) -> Callable[[int], int]:
    """A turn of calls of an artifact; it takes the number of the turn, and returns the number of its calls."""
    model = odelet.load(folder)
    inputs = samples_of(model.card, folder)[0][0]
    axes = {axis for tensor in model.inputs for axis in tensor.shape if isinstance(axis, str)}

    def sized(batch: int) -> dict[str, np.ndarray]:
        """The sample with so many batch rows, if the model has one dynamic axis, the first one of its inputs."""
        if len(axes) != 1 or any(axes & {*tensor.shape[1:]} for tensor in model.inputs):
            return inputs
        rows = {tensor.name for tensor in model.inputs if axes & {*tensor.shape[:1]}}
        return {
            name: np.resize(array, (batch, *array.shape[1:])) if name in rows else array
            for name, array in inputs.items()
        }

    def turn(number: int) -> int:
        given = sized(BATCHES[number % len(BATCHES)])
        for call in range(CALLS):
            if call % 10 == 9:
                try:
                    model(*[np.zeros((1, 2, 3, 4, 5), np.int8)] * len(given))
                except odelet.InputError:
                    continue
            (model.solve if call % 2 else model)(**given)
        return CALLS

    return turn


def loads_of(folder: Path) -> Callable[[int], int]:
    """A turn of loads of an artifact, each with one call."""

    def turn(number: int) -> int:
        for _ in range(LOADS):
            model = odelet.load(folder)
            model.solve(**samples_of(model.card, folder)[0][0])
        return LOADS

    return turn


def serve(kind: str, folder: Path) -> None:
    """Take a turn for each line on stdin, and print the number of its calls and the memory that is held after it."""
    turn = {"call": calls_of, "load": loads_of}[kind](folder)
    for number, _ in enumerate(sys.stdin):
        print(turn(number), resident(), flush=True)


def slope(calls: list[int], memory: list[int]) -> tuple[float, float]:
    """The growth in bytes for each call, and its standard error. calls, memory: of each turn, in order."""
    begin = int(len(calls) * WARM)
    at, held = np.cumsum(calls[begin:], dtype=float), np.array(memory[begin:], dtype=float)
    if at.size < 2 * SEGMENTS:
        return math.nan, math.nan
    parts = zip(np.array_split(at, SEGMENTS), np.array_split(held, SEGMENTS), strict=True)
    slopes = [float(np.polyfit(x - x[0], y, 1)[0]) for x, y in parts]
    return float(np.mean(slopes)), float(np.std(slopes, ddof=1) / math.sqrt(SEGMENTS))


def soak(folders: list[Path], seconds: float) -> list[str]:
    """Have each artifact called and loaded in turn for so long. Returns a table as lines."""
    names = [(kind, folder) for kind in ("call", "load") for folder in folders]
    processes = {
        f"{kind} {folder.name}": subprocess.Popen(
            [sys.executable, __file__, "--serve", kind, "--corpus", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind, folder in names
    }
    calls: dict[str, list[int]] = {name: [] for name in processes}
    memory: dict[str, list[int]] = {name: [] for name in processes}
    end = perf_counter() + seconds
    while perf_counter() < end:
        for name, process in processes.items():
            assert process.stdin is not None and process.stdout is not None
            print("turn", file=process.stdin, flush=True)
            count, held = process.stdout.readline().split()
            calls[name].append(int(count))
            memory[name].append(int(held))
    for process in processes.values():
        process.communicate()
    lines = [
        f"{'turns of':20}{'calls':>10}{'bytes a call':>14}{'error':>10}{'MiB after warm-up':>20}{'at the end':>12}"
    ]
    for name in processes:
        value, error = slope(calls[name], memory[name])
        warm, last = (memory[name][at] / 2**20 for at in (int(len(memory[name]) * WARM), -1))
        row = f"{name:20}{sum(calls[name]):>10,}{value:>14.1f}{error:>10.1f}{warm:>20.2f}{last:>12.2f}"
        lines.append(row + ("  GROWS" if value > 3 * error and last > warm else ""))
    return lines


def main() -> int:
    """Export, call, print the table; 1 if the memory of a process grows by more than three errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--corpus", type=Path, help="folder of artifacts to call")
    parser.add_argument("--serve", choices=("call", "load"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.corpus)
        return 0
    with tempfile.TemporaryDirectory(prefix="odelet-soak-") as made:
        if options.corpus is None:
            # Exports bring torch, which needs more memory than all that is measured here.
            make = f"from pathlib import Path; from engines import forms; forms(Path({made!r}))"
            subprocess.run([sys.executable, "-c", make], check=True, cwd=Path(__file__).parent)
        corpus = options.corpus or Path(made)
        lines = soak(sorted(path.parent for path in corpus.glob("*/odelet.json")), options.minutes * 60)
    print("\n".join(lines))
    return int(any(line.endswith("GROWS") for line in lines))


if __name__ == "__main__":
    raise SystemExit(main())
