"""Writes the results of a benchmark as JSON, with the machine and the versions.

Import this module before the libraries that are measured: it sets their numbers of threads.
"""

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

# The libraries read these variables when they load. JAX runs on one thread only if both of the last two say so.
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
os.environ.update(ONE_THREAD)

from odelet.commands.latency import Latency  # noqa: E402  # it imports numpy

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OUT = ROOT / "out" / "bench"
PACKAGES = ("numpy", "onnxruntime", "onnx", "torch", "torchdiffeq", "torchsde", "torchode", "diffrax", "jax", "scipy")


def machine() -> dict[str, Any]:
    """The processor, the number of its cores, the system, and the versions of packages; None for a missing package."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = [line.split(":", 1) for line in lines if ":" in line]
    values = {key.strip(): value.strip() for key, value in fields}
    # The model name of a virtual machine is often vague; these numbers are what else there is.
    numbers = ", ".join(f"{key} {values[key]}" for key in ("cpu family", "model") if key in values)
    return f"{values.get('model name', platform.machine())} ({numbers})" if numbers else platform.machine()


def milliseconds(latency: Latency) -> dict[str, Any]:
    """The median and the 10th and 90th percentiles in milliseconds, and the number of turns."""
    percentiles = {f"p{percent}": round(1e3 * latency.percentile(percent), 4) for percent in (10, 50, 90)}
    return {"ms": percentiles, "turns": len(latency.seconds)}


def write(claim: str, rows: Iterable[dict[str, Any]], *, quick: bool, **more: Any) -> None:
    """Write results/<claim>.json, replacing earlier results. more: further entries of the file."""
    RESULTS.mkdir(exist_ok=True)
    data = {"claim": claim, "quick": quick, "machine": machine(), **more, "rows": list(rows)}
    (RESULTS / f"{claim}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def run(claim: str, measure: Callable[..., Iterable[dict[str, Any]]], names: Iterable[str], doc: str | None) -> None:
    """Run the command line of a benchmark.

    measure: a function that yields the rows of a part, given its name and `quick`. names: the names of all parts. doc:
    the text whose first paragraph `--help` shows.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n\n")[0])
    parser.add_argument(
        "--only",
        choices=list(names),
        action="append",
        help="measure this part only, and keep the results of the others",
    )
    parser.add_argument("--quick", action="store_true", help="few repeats, for figures to look at and not to quote")
    arguments = parser.parse_args()
    earlier = _earlier(claim) if arguments.only else []
    rows = [row for row in earlier if row["part"] not in (arguments.only or ())]
    for name in arguments.only or names:
        for row in measure(name, quick=arguments.quick):
            rows.append({"part": name, **row})
            print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), file=sys.stderr, flush=True)
    order = list(names)
    write(claim, sorted(rows, key=lambda row: order.index(row["part"])), quick=arguments.quick)


def _earlier(claim: str) -> list[dict[str, Any]]:
    """The rows that were measured before; empty where there are none."""
    path = RESULTS / f"{claim}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
