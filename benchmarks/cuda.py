"""How fast solves are on a GPU: absolute times, beside the CPU's and torchdiffeq's on the same card.

`python benchmarks/cuda.py export DIR` makes the artifacts, where odelet's exporter is; `python benchmarks/cuda.py run
DIR` times them where there is a GPU and onnxruntime-gpu, and writes results/cuda.json. torch there is used, if it is
there and sees the GPU, for torchdiffeq alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import record  # first, for the threads
import numpy as np

import odelet
from odelet.commands.latency import interleaved
from odelet.engine.buffers import captures

# Each with its batches, and what it is exported to besides.
CASES = {"spiral": (1, 256, 4096), "mlp": (1, 64, 1024), "digits": (1, 64)}
FORMS = ("driven", "adaptive", "unrolled")
STEPS = 128


def export_all(out: Path) -> None:
    """An artifact for each workload, batch and form, all sizes fixed, and its input."""
    import torch
    from workloads import WORKLOADS

    from odelet_export import export

    for name, batches in CASES.items():
        for batch in batches:
            workload, folder = WORKLOADS[name], out / f"{name}-{batch}"
            x, model = workload.inputs(batch), workload.build()
            for form in FORMS:
                options = {"method": "rk4", "steps": STEPS} if form == "unrolled" else {}
                export(model, (torch.from_numpy(x),), folder / form, form=form, samples=1, **options)
            np.save(folder / "x.npy", x)
            torch.save(model.state_dict(), folder / "weights.pt")


def measure(folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each form, and one for torchdiffeq."""
    name, batch = folder.name.rsplit("-", 1)
    x = np.load(folder / "x.npy")
    calls: dict[str, Callable[[], object]] = {}
    told: dict[str, dict[str, Any]] = {}
    for form in FORMS:
        expected = None
        for device, threads in [*(("cpu", n) for n in _threads()), ("cuda", 1)]:
            model = odelet.load(folder / form, device=device, threads=threads)
            solution = model.solve(x).raise_if_failed()
            output = next(iter(solution.outputs.values()))
            expected = output if expected is None else expected
            way = f"{form}, {device}" + (f", {threads} threads" if threads > 1 else "")
            calls[way] = lambda model=model: model(x)
            told[way] = {
                "steps": solution.stats.steps,
                "difference": float(np.abs(output - expected).max()),
                "captured": any(map(captures, _steps(model))),
            }
    calls |= _torch(name, folder, x)
    taken = interleaved(calls, seconds=seconds, turns=(5, 1000), warmup=3)
    for way, latency in taken.items():
        yield {"workload": name, "batch": int(batch), "way": way, **record.milliseconds(latency), **told.get(way, {})}


def _threads() -> list[int]:
    """Powers of two, up to the cores there are."""
    return [2**i for i in range(10) if 2**i <= (os.cpu_count() or 1)]


def _steps(model: odelet.Model) -> list[Any]:
    """The sessions that take the steps of driven solves."""
    found = [getattr(getattr(step, "graphs", None), "step", None) for step in model._program]
    return [session for session in found if session is not None]


def _torch(name: str, folder: Path, x: Any) -> dict[str, Callable[[], object]]:
    """torchdiffeq on the GPU, if it is there."""
    try:
        import torch
        from workloads import WORKLOADS
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    model = WORKLOADS[name].build()
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    model, tensor = model.cuda(), torch.from_numpy(x).cuda()

    def call() -> object:
        with torch.no_grad():
            return model(tensor).cpu()

    call()
    return {"torchdiffeq, cuda": call}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("do", choices=["export", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each workload and batch")
    given = parser.parse_args()
    if given.do == "export":
        export_all(given.folder)
        return
    rows = []
    for folder in sorted(path for path in given.folder.iterdir() if path.is_dir()):
        for row in measure(folder, given.seconds):
            rows.append(row)
            print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    record.write("cuda", rows, quick=False, card=_card())


def _card() -> str | None:
    """The GPU, as its driver names it."""
    import subprocess

    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


if __name__ == "__main__":
    main()
