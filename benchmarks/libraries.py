"""Which versions of torch and torchdiffeq the exporter works with: exports a corpus of models with each of them.

For each pair of versions it installs the packages that differ from the installed ones into a temporary folder, and
exports there every method of torchdiffeq, its adjoint, its event and its times of jumps; each export is compared with
that torch and that torchdiffeq, as always. It prints a table; the bounds in `pyproject.toml` and in
`exporter/odelet_export/versions.py` come from it. It needs the network, and some minutes for each pair.

    python benchmarks/libraries.py                          # the oldest and the newest torchdiffeq that are allowed
    python benchmarks/libraries.py --all                    # every pair of PAIRS
    python benchmarks/libraries.py --pairs 2.13.0,0.2.3     # these; an empty version is the installed one
    python benchmarks/libraries.py --idioms                 # with an export of each model of tests/idioms, too

PyPI's torch for Linux on x86 has CUDA in it; set PIP_EXTRA_INDEX_URL to an index of CPU builds, or have a copy of the
build installed, before you ask for another torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from version_pairs import all_good, line_of

ROOT = Path(__file__).resolve().parents[1]

# Versions of torch and torchdiffeq; "" is the installed one.
PAIRS = (("", "0.2.1"), ("", "0.2.2"), ("", "0.2.3"), ("", "0.2.4"), ("", "0.2.5"))
OLDEST_AND_NEWEST = (("", "0.2.4"), ("", "0.2.5"))

# Runs beside the packages of a pair. It lifts the bounds, as they are what is measured.
WORKER = """
import json, sys, tempfile, types, warnings
from pathlib import Path
sys.modules["odelet_export.versions"] = types.SimpleNamespace(check_libraries=lambda: None)
answers = {}
try:
    import torch, torchdiffeq
    from libraries import models
    from odelet_export import export
    for name, build in models(idioms=bool(int(sys.argv[1]))).items():
        try:
            torch.manual_seed(0)
            model, args, settings = build()
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                export(model, args, Path(folder, "out"), samples=2, **settings)
            answers[name] = "ok"
        except Exception as error:
            answers[name] = f"{type(error).__name__}: {error}"
    found = {"torch": torch.__version__, "torchdiffeq": torchdiffeq.__version__}
except Exception as error:
    found, answers["import"] = {}, f"{type(error).__name__}: {error}"
print(json.dumps({**found, "answers": answers}))
"""


def models(*, idioms: bool = False) -> dict[str, Any]:
    """Functions that build a model, its arguments and the settings of its export, by name.

    They are the methods of the torchdiffeq that is imported, its adjoint, its event and its times of jumps. idioms:
    whether the models of tests/idioms are among them.
    """
    import torch
    import torchdiffeq

    from odelet_intercept.installed import SOLVERS as solvers

    built: dict[str, Any] = {}
    times = torch.tensor([0.0, 0.7, 1.0])

    def solving(solve: Any, **settings: Any) -> Any:
        layer = torch.nn.Linear(3, 3)

        class Field(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = layer

            def forward(self, t: Any, y: Any) -> Any:
                return torch.tanh(self.layer(y)) * (1 + t)

        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.field = Field()

            def forward(self, x: Any) -> Any:
                return solve(self.field, x, times, **settings)

        return Model(), (torch.randn(2, 3),), {"dynamic": {"x": {0: "batch"}}}

    adaptive = {name for name, solver in solvers.items() if hasattr(solver, "tableau")}
    for name in solvers:
        if name != "scipy_solver":
            options = {} if name in adaptive else {"options": {"step_size": 0.25}}
            built[name] = lambda name=name, options=options: solving(torchdiffeq.odeint, method=name, **options)
    built["adjoint"] = lambda: solving(torchdiffeq.odeint_adjoint)
    jumps = {"jump_t": torch.tensor([0.4])}
    built["jump_t"] = lambda: solving(torchdiffeq.odeint, method="dopri5", options=jumps)
    built["event"] = lambda: (_Falling(), (torch.tensor([3.0, 0.0]),), {})
    return built | (_idioms() if idioms else {})


def _Falling() -> Any:
    """A thrown ball that ends on the ground."""
    import torch
    from torchdiffeq import odeint_event

    class Falling(torch.nn.Module):
        def forward(self, y: Any) -> Any:
            time, path = odeint_event(
                lambda t, y: torch.stack([y[1], torch.full_like(y[1], -9.8)]),
                y,
                torch.tensor(0.0),
                event_fn=lambda t, y: y[0],
                atol=1e-6,
                rtol=1e-6,
            )
            return time, path[-1]

    return Falling()


def _idioms() -> dict[str, Any]:
    from idioms import cases

    def built(make: Any) -> Any:
        case = make()
        return case.model, case.args, {"kwargs": case.kwargs, "dynamic": case.dynamic}

    return {name: partial(built, make) for name, make in cases()}


def exported(pair: tuple[str, str], *, idioms: bool) -> dict[str, Any]:
    """What exporting the corpus with these versions gives: a text by model, and the versions."""
    named = {"torch": pair[0] or "installed", "torchdiffeq": pair[1] or "installed"}
    with tempfile.TemporaryDirectory(prefix="odelet-libraries-") as home:
        wanted = [f"{name}=={version}" for name, version in zip(named, pair, strict=True) if version]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
        if wanted:
            installed = subprocess.run([*pip, "--target", home, *wanted], capture_output=True, text=True, check=False)
            if installed.returncode != 0:
                return {**named, "answers": {"install": (installed.stderr.strip().splitlines() or ["pip failed"])[-1]}}
        folders = [home, *(str(ROOT / name) for name in ("runtime", "exporter", "models", "tests", "benchmarks"))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", WORKER, str(int(idioms))]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=home)
    if run.returncode != 0:
        return {**named, "answers": {"run": (run.stderr.strip().splitlines() or ["it ended"])[-1]}}
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return {**named, **result}


def main() -> int:
    """Export the corpus with each pair, print a line for each, and return 1 if an export failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every pair, those that are refused included")
    parser.add_argument("--pairs", nargs="+", metavar="TORCH,TORCHDIFFEQ")
    parser.add_argument("--idioms", action="store_true", help="with the models of tests/idioms (many minutes)")
    options = parser.parse_args()
    pairs = [tuple(pair.split(",")) for pair in options.pairs or ()] or (PAIRS if options.all else OLDEST_AND_NEWEST)
    results = []
    for pair in pairs:
        results.append(exported((pair[0], pair[1]), idioms=options.idioms))
        print(line_of(results[-1], ("torch", "torchdiffeq")), flush=True)
    return int(not all(map(all_good, results)))


if __name__ == "__main__":
    raise SystemExit(main())
