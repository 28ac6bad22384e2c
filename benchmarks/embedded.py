"""What a solve takes on a device without an engine: bytes of memory, of weights and of code, and time for a call.

Each model is exported for a batch of one with time in float32, built for the target c, and compiled for this machine
and as a program for a Cortex-M4, which an emulator runs. Writes results/embedded.json.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import record  # It must come before the libraries that it sets the threads of.
import cortex
import torch
from record import OUT
from workloads import SMALL, WORKLOADS

import odelet
from odelet_export import build, export
from odelet_export.targets.build.c.beside import FLAGS

MODELS = ("readme", "spiral", "latent", "digits")
# A Cortex-M4 computes float64 in software.
OPTIONS = {"dtype": torch.float32}


def _said(*words: str | Path) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def _on_cortex(artifact: Path, folder: Path, name: str) -> dict[str, int] | None:
    """What the program of a model takes of a Cortex-M4; None where the compiler or the emulator is not installed."""
    if cortex.missing():
        return None
    program = cortex.program(artifact, folder, name, OUT / f"{name}-embedded.elf")
    tested = cortex.emulated(cortex.test_program(folder, name, OUT / f"{name}-embedded-test.elf").file)
    if " 0 numbers wrong" not in tested:
        raise RuntimeError(f"{name} gives other answers on a Cortex-M4:\n{tested}")
    return {"flash": program.text + program.data, "ram": program.data + program.bss, **cortex.call(program.file)}


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the row of a model."""
    torch.set_num_threads(1)
    workload = (WORKLOADS | SMALL)[name]
    model = workload.build()
    model.options = OPTIONS
    example = torch.from_numpy(workload.inputs(1))
    folders = {kind: OUT / f"{name}-embedded-{kind}" for kind in ("artifact", "adaptive", "c")}
    export(model, (example,), folders["artifact"], profile="c", samples=1)
    export(model, (example,), folders["adaptive"], form="adaptive", samples=1)
    result = build(folders["artifact"], "c", folders["c"], name=name)
    source, program = folders["c"] / f"odelet_{name}.c", OUT / f"{name}-embedded-test"
    gcc = ["gcc", *FLAGS.split()]
    _said(*gcc, source, folders["c"] / f"test_{name}.c", "-o", program, "-lm")
    graphs, x = odelet.load(folders["adaptive"], threads=1), example.numpy()
    ours, theirs = [], []
    for _ in range(3 if quick else 15):  # the two take turns
        ours.append(float(_said(program, "200").rsplit(":", 1)[1]))
        start = process_time()
        for _ in range(20):
            graphs(x)
        theirs.append((process_time() - start) / 20 * 1e6)
    built = result.built
    yield {
        "arena": built.arena,
        "live": built.live,
        "weights": built.weights,
        "kernels": built.kernels,
        "cortex_m4": _on_cortex(folders["artifact"], folders["c"], name),
        "steps": graphs.solve(x).stats.solves[0].steps,
        "us": {"c": round(sorted(ours)[len(ours) // 2], 2), "onnxruntime": round(sorted(theirs)[len(theirs) // 2], 1)},
    }


if __name__ == "__main__":
    record.run("embedded", measure, MODELS, __doc__)
