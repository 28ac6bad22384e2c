"""Whether memory grows: calls each form in turn for an hour, and prints the slope of resident memory for each.

    python benchmarks/soak.py                   # an hour
    python benchmarks/soak.py --minutes 3
    python benchmarks/soak.py --corpus DIR      # the artifacts in DIR in place of the exports of the model of digits

A turn is a block of calls of one artifact, at other batch sizes than the turn before where the model takes them, with
solves and refused arguments among them; or a block of loads, each with one call. Growth of the resident memory within a
turn counts for the artifact whose turn it is. The first fifth of the time is left out. The rest is divided into
segments; the slope is the mean of theirs, and its error the standard error of that mean. The process holds no torch.
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


def slope(calls: list[int], growth: list[int]) -> tuple[float, float]:
    """The growth in bytes for each call, and its standard error. calls, growth: of each turn, in order."""
    begin = int(len(calls) * WARM)
    at, total = np.cumsum(calls[begin:], dtype=float), np.cumsum(growth[begin:], dtype=float)
    if at.size < 3 * SEGMENTS:
        return math.nan, math.nan
    parts = zip(np.array_split(at, SEGMENTS), np.array_split(total, SEGMENTS), strict=True)
    slopes = [float(np.polyfit(x - x[0], y, 1)[0]) for x, y in parts]
    return float(np.mean(slopes)), float(np.std(slopes, ddof=1) / math.sqrt(SEGMENTS))


def soak(folders: list[Path], seconds: float) -> list[str]:
    """Call each artifact in turn for so long. Returns a table as lines."""
    turns = {folder.name: calls_of(folder) for folder in folders}
    turns |= {f"load {folder.name}": loads_of(folder) for folder in folders}
    calls: dict[str, list[int]] = {name: [] for name in turns}
    growth: dict[str, list[int]] = {name: [] for name in turns}
    whole: list[int] = []
    end, number = perf_counter() + seconds, 0
    while perf_counter() < end:
        for name, turn in turns.items():
            before = resident()
            calls[name].append(turn(number))
            growth[name].append(resident() - before)
        whole.append(resident())
        number += 1
    lines = [f"{'turns of':24}{'calls':>10}{'bytes a call':>16}{'error':>10}"]
    for name in turns:
        value, error = slope(calls[name], growth[name])
        grows = "  GROWS" if value > max(3 * error, 1) else ""
        lines.append(f"{name:24}{sum(calls[name]):>10,}{value:>16.2f}{error:>10.2f}{grows}")
    warm = whole[int(len(whole) * WARM)]
    value, error = slope([1] * len(whole), [*np.diff(whole, prepend=whole[0]).tolist()])
    lines.append(f"{'all, a round':24}{len(whole):>10,}{value:>16.2f}{error:>10.2f}")
    lines.append(
        f"resident memory: {warm / 2**20:.1f} MiB after the first fifth, {whole[-1] / 2**20:.1f} MiB at the end"
    )
    return lines


def main() -> int:
    """Export, call, print the table; 1 if a form grows by more than three errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--corpus", type=Path, help="folder of artifacts to call")
    options = parser.parse_args()
    if options.corpus is None:
        with tempfile.TemporaryDirectory(prefix="odelet-soak-") as folder:
            make = f"from engines import forms; forms(__import__('pathlib').Path({folder!r}))"
            subprocess.run([sys.executable, "-c", make], check=True, cwd=Path(__file__).parent)
            again = [sys.executable, __file__, "--minutes", str(options.minutes), "--corpus", folder]
            return subprocess.run(again, check=False).returncode
    lines = soak(sorted(path.parent for path in options.corpus.glob("*/odelet.json")), options.minutes * 60)
    print("\n".join(lines))
    return int(any(line.endswith("GROWS") for line in lines))


if __name__ == "__main__":
    raise SystemExit(main())
