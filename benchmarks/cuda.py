"""How fast solves are on a GPU: absolute times, with those of the CPU and of torchdiffeq on the same GPU.

`python benchmarks/cuda.py export DIR` makes the artifacts, on a machine with odelet's exporter. `python
benchmarks/cuda.py run DIR` times them on a machine with a GPU and onnxruntime-gpu, and writes results/cuda.json. torch
is needed there for the time of torchdiffeq only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import numpy as np

import odelet
from odelet.commands.latency import interleaved
from odelet.engine.buffers import captures

# The batches at which each workload is timed.
CASES = {"spiral": (1, 256, 4096), "mlp": (1, 64, 1024), "digits": (1, 64)}
FORMS = ("driven", "adaptive", "unrolled")
STEPS = 128


def export_all(out: Path) -> None:
    """Write the input of each workload and batch, and its artifact in each form, with all sizes fixed."""
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
    """Yield a row for each form, device and number of threads, and one for torchdiffeq."""
    name, batch = folder.name.rsplit("-", 1)
    x = np.load(folder / "x.npy")
    calls: dict[str, Callable[[], object]] = {}
    details: dict[str, dict[str, Any]] = {}
    for form in FORMS:
        expected = None
        for device, threads in [*(("cpu", n) for n in _threads()), ("cuda", 1)]:
            model = odelet.load(folder / form, device=device, threads=threads)
            solution = model.solve(x).raise_if_failed()
            output = next(iter(solution.outputs.values()))
            expected = output if expected is None else expected
            way = f"{form}, {device}" + (f", {threads} threads" if threads > 1 else "")
            calls[way] = lambda model=model: model(x)
            details[way] = {
                "steps": solution.stats.steps,
                "difference": float(np.abs(output - expected).max()),
                "captured": any(map(captures, _steps(model))),
            }
    calls |= _torch(name, folder, x)
    latencies = interleaved(calls, seconds=seconds, turns=(5, 1000), warmup=3)
    for way, latency in latencies.items():
        yield {
            "workload": name,
            "batch": int(batch),
            "way": way,
            **record.milliseconds(latency),
            **details.get(way, {}),
        }


def _threads() -> list[int]:
    """The powers of two up to the number of cores."""
    return [2**i for i in range(10) if 2**i <= (os.cpu_count() or 1)]


def _steps(model: odelet.Model) -> list[Any]:
    """The sessions that take the steps of driven solves."""
    sessions = [getattr(getattr(step, "graphs", None), "step", None) for step in model._program]
    return [session for session in sessions if session is not None]


def _torch(name: str, folder: Path, x: Any) -> dict[str, Callable[[], object]]:
    """A call of torchdiffeq on the GPU, by its name; empty where torch is missing or sees no GPU."""
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
    parser.add_argument("do", choices=["export", "run"], help="make the artifacts, or time them")
    parser.add_argument("folder", type=Path, help="the folder of the artifacts")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds to measure each workload and batch")
    arguments = parser.parse_args()
    if arguments.do == "export":
        export_all(arguments.folder)
        return
    rows = []
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        for row in measure(folder, arguments.seconds):
            rows.append(row)
            print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    record.write("cuda", rows, quick=False, card=_card())


def _card() -> str | None:
    """The name of the GPU and of its driver version; None where nvidia-smi does not say."""
    import subprocess

    try:
        output = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return output.stdout.strip()


if __name__ == "__main__":
    main()
