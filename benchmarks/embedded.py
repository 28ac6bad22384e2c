"""What a solve takes on a device without an engine: bytes of memory, of weights and of code, and time for a call.

Each model is exported for a batch of one, built for the target c, and compiled for this machine and for a Cortex-M4.
Writes results/embedded.json, and the table of docs/embedded.md.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from record import OUT
from plots import DOCS
from report import TITLES, read, table
from workloads import WORKLOADS

import odelet
from odelet_export import build, export
from odelet_export.targets.build.c.beside import FLAGS

MODELS = ("spiral", "latent", "digits")
PAGE = DOCS / "embedded.md"
START, END = "<!-- sizes: python benchmarks/embedded.py -->\n", "<!-- to here -->\n"
CORTEX = ["arm-none-eabi-gcc", "-std=c99", "-Os", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]


def _said(*words: str | Path) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def _code(compiler: list[str], source: Path, object_file: Path, size: str) -> int | None:
    """The bytes of code and constants that a compiler makes; None where it is not installed."""
    if shutil.which(compiler[0]) is None:
        return None
    _said(*compiler, "-c", source, "-o", object_file)
    return int(_said(size, object_file).splitlines()[1].split()[0])


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the row of a model."""
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    example = torch.from_numpy(workload.inputs(1))
    folders = {kind: OUT / f"{name}-embedded-{kind}" for kind in ("artifact", "adaptive", "c")}
    export(workload.build(), (example,), folders["artifact"], profile="c", samples=1)
    export(workload.build(), (example,), folders["adaptive"], form="adaptive", samples=1)
    result = build(folders["artifact"], "c", folders["c"], name=name)
    source, program = folders["c"] / f"odelet_{name}.c", OUT / f"{name}-embedded-test"
    gcc = ["gcc", *FLAGS.split()]
    _said(*gcc, source, folders["c"] / f"test_{name}.c", "-o", program, "-lm")
    model, x = odelet.load(folders["adaptive"], threads=1), example.numpy()
    ours, theirs = [], []
    for _ in range(3 if quick else 15):  # the two take turns
        ours.append(float(_said(program, "200").rsplit(":", 1)[1]))
        start = process_time()
        for _ in range(20):
            model(x)
        theirs.append((process_time() - start) / 20 * 1e6)
    built = result.built
    yield {
        "arena": built.arena,
        "live": built.live,
        "weights": built.weights,
        "kernels": built.kernels,
        "code": _code(gcc, source, OUT / "embedded.o", "size"),
        "code_cortex_m4": _code(CORTEX, source, OUT / "embedded-m4.o", "arm-none-eabi-size"),
        "steps": model.solve(x).stats.solves[0].steps,
        "us": {"c": round(sorted(ours)[len(ours) // 2], 2), "onnxruntime": round(sorted(theirs)[len(theirs) // 2], 1)},
    }


def sizes() -> str:
    """The table of the page."""
    head = ("model, batch 1", "arena", "weights", "code, Cortex-M4", "code, this machine", "steps", "C", "ONNX Runtime")
    rows = [
        (
            TITLES[row["part"]],
            *(_bytes(row[key]) for key in ("arena", "weights")),
            _bytes(row["code_cortex_m4"] and row["code_cortex_m4"] - row["weights"]),
            _bytes(row["code"] and row["code"] - row["weights"]),
            row["steps"],
            *(_time(row["us"][key]) for key in ("c", "onnxruntime")),
        )
        for row in read("embedded")["rows"]
    ]
    return table(head, rows)


def _bytes(count: int | None) -> str:
    return "not measured" if count is None else f"{count:,} B" if count < 10_000 else f"{count / 1024:,.0f} kB"


def _time(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f} ms"


def main() -> None:
    record.run("embedded", measure, MODELS, __doc__)
    text = PAGE.read_text(encoding="utf-8")
    between = re.compile(re.escape(START) + ".*?" + re.escape(END), re.S)
    PAGE.write_text(between.sub(lambda _: f"{START}{sizes()}\n{END}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
