"""What a benchmark leaves: JSON with the machine and the versions. Import this first: it sets the threads of all."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Read when the libraries load. JAX runs on one thread only when told so by both.
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
os.environ.update(ONE_THREAD)

from odelet.commands.latency import Latency  # noqa: E402  # it brings numpy

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OUT = ROOT / "out" / "bench"
PACKAGES = ("numpy", "onnxruntime", "onnx", "torch", "torchdiffeq", "torchode", "diffrax", "jax", "scipy")


def machine() -> dict[str, Any]:
    """The processor, its cores, the system and the versions."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": found,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = [line.split(":", 1) for line in lines if ":" in line]
    said = {key.strip(): value.strip() for key, value in fields}
    # Virtual machines are often named no closer than this.
    numbers = ", ".join(f"{key} {said[key]}" for key in ("cpu family", "model") if key in said)
    return f"{said.get('model name', platform.machine())} ({numbers})" if numbers else platform.machine()


def milliseconds(latency: Latency) -> dict[str, Any]:
    """The median, the middle 80 %, and the number of turns."""
    told = {f"p{percent}": round(1e3 * latency.percentile(percent), 4) for percent in (10, 50, 90)}
    return {"ms": told, "turns": len(latency.seconds)}


def write(claim: str, rows: Iterable[dict[str, Any]], *, quick: bool, **more: Any) -> None:
    """Write results/<claim>.json, in place of what was there."""
    RESULTS.mkdir(exist_ok=True)
    data = {"claim": claim, "quick": quick, "machine": machine(), **more, "rows": list(rows)}
    (RESULTS / f"{claim}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def run(claim: str, measure: Callable[..., Iterable[dict[str, Any]]], names: Iterable[str], doc: str | None) -> None:
    """The command line of a benchmark. measure: of a name and whether to be quick, the rows; `names` are all."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n\n")[0])
    parser.add_argument("--only", choices=list(names), action="append", help="this part, keeping the others' results")
    parser.add_argument("--quick", action="store_true", help="few repeats: numbers to look at, not to keep")
    given = parser.parse_args()
    kept = _kept(claim) if given.only else []
    rows = [row for row in kept if row["part"] not in (given.only or ())]
    for name in given.only or names:
        for row in measure(name, quick=given.quick):
            rows.append({"part": name, **row})
            print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), file=sys.stderr, flush=True)
    order = list(names)
    write(claim, sorted(rows, key=lambda row: order.index(row["part"])), quick=given.quick)


def _kept(claim: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{claim}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
