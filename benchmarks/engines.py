"""Which versions of ONNX Runtime and numpy give torch's answers: verifies a corpus of artifacts on each of them.

For each pair of versions it makes a virtual environment in a temporary folder, installs the two packages from PyPI, and
verifies the corpus there with the runtime package alone. It prints a table; the bounds in `pyproject.toml` and in
`runtime/odelet/engine/versions.py` come from it. It needs the network, and about half a minute for each pair.

    python benchmarks/engines.py                           # the oldest that is allowed and the newest there is
    python benchmarks/engines.py --all                     # every pair of PAIRS
    python benchmarks/engines.py --pairs 1.24.1,2.0.2      # these
    python benchmarks/engines.py --idioms                  # with an export of each model of tests/idioms, too
    python benchmarks/engines.py --corpus DIR              # the artifacts in DIR in place of the corpus
    python benchmarks/engines.py --python python3.10 --pairs 1.23.2,2.2.6    # under another Python
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from version_pairs import all_good, line_of

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "tests" / "whole" / "artifacts-0.1"

# Versions of onnxruntime and numpy that have wheels for Python 3.11; "" is the newest that pip finds. 1.23.2 and 2.2.6
# are the newest for Python 3.10.
PAIRS = (
    ("1.17.3", "1.26.4"),
    ("1.18.1", "1.26.4"),
    ("1.19.2", "1.26.4"),
    ("1.20.0", "1.24.0"),
    ("1.20.1", "1.26.4"),
    ("1.21.1", "2.0.2"),
    ("1.22.1", "2.0.2"),
    ("1.23.2", "2.1.3"),
    ("1.23.2", "2.2.6"),
    ("1.24.4", "2.2.6"),
    ("1.25.1", "2.3.5"),
    ("1.26.0", "2.3.5"),
    ("1.27.0", "2.4.6"),
    ("1.28.0", "2.4.6"),
    ("1.29.0", "2.4.6"),
    ("1.30.0", "2.4.6"),
    ("1.31.1", "2.4.6"),
    ("", ""),
)
OPSETS, USUAL_OPSET = range(18, 24), 20
OLDEST_AND_NEWEST = (("1.20.0", "1.24.0"), ("", ""))

# Runs in the environment of a pair. It lifts the bound of `odelet.load`, as the bound is what is measured.
WORKER = """
import json, sys
import numpy, onnxruntime
import odelet
from odelet.engine import opening
opening.check_engine_version = lambda **bounds: None
answers = {}
for path in sys.argv[1:]:
    try:
        report = odelet.verify(path)
        worst = max((check.max_rel for check in report.checks), default=0.0)
        answers[path] = "ok" if report.passed else f"WRONG, {worst:.2g} relative"
    except Exception as error:
        answers[path] = f"{type(error).__name__}: {error}"
print(json.dumps({"onnxruntime": onnxruntime.__version__, "numpy": numpy.__version__, "answers": answers}))
"""


def corpus(folder: Path) -> list[Path]:
    """The stored artifacts of 0.1, and the exports of `forms` and of the other opsets."""
    stored = sorted(path.parent for path in STORED.glob("*/odelet.json"))
    others = [opset for opset in OPSETS if opset != USUAL_OPSET]
    return stored + forms(folder) + [exported(folder, "adaptive", {}, opset=opset) for opset in others]


def forms(folder: Path) -> list[Path]:
    """The trained model of digits, exported into the folder in each form."""
    rk4 = {"method": "rk4", "steps": 4}
    data = {"x": np.random.default_rng(0).uniform(0, 16, (64, 64)).astype(np.float32)}
    changes = {"unrolled": rk4, "rolled": rk4, "adaptive": {}, "driven": {}, "bounded": {"calibration": data}}
    return [exported(folder, form, options) for form, options in changes.items()]


def exported(folder: Path, form: str, options: dict[str, Any], *, opset: int = USUAL_OPSET) -> Path:
    """The trained model of digits, exported into a folder in the folder. options: for `export`."""
    import torch

    from odelet_export import export
    from odelet_models.odenet import digits_pretrained

    out = folder / (form if opset == USUAL_OPSET else f"{form}-opset-{opset}")
    example, dynamic = torch.rand(3, 64) * 16, {"x": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(digits_pretrained(), (example,), out, form=form, dynamic=dynamic, opset=opset, **options)
    return out


def verified(folder: Path, pair: tuple[str, str], artifacts: Sequence[Path], interpreter: str) -> dict[str, Any]:
    """What verifying the artifacts gives in a new environment with these versions: a text by path, and the versions.

    interpreter: the Python of the environment.
    """
    home = folder / ("-".join(pair) or "newest")
    subprocess.run([interpreter, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    wanted = [
        f"{name}=={version}" if version else name for name, version in zip(("onnxruntime", "numpy"), pair, strict=True)
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "-q"]
    installed = subprocess.run([*pip, "--only-binary=:all:", *wanted], capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        lines = installed.stderr.strip().splitlines() or ["pip failed"]
        return {"onnxruntime": pair[0], "numpy": pair[1], "answers": dict.fromkeys(map(str, artifacts), lines[-1])}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [str(python), "-c", WORKER, *map(str, artifacts)], capture_output=True, text=True, check=False, env=environment
    )
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        return {"onnxruntime": pair[0], "numpy": pair[1], "answers": dict.fromkeys(map(str, artifacts), lines[-1])}
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def idioms(folder: Path) -> list[Path]:
    """Each model of tests/idioms that can be exported, exported into the folder in the form that is chosen for it."""
    import torch

    from odelet_export import export

    sys.path.insert(0, str(ROOT / "tests"))
    from idioms import cases

    paths = []
    for name, make in cases():
        torch.manual_seed(0)
        case = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export(case.model, case.args, folder / name, kwargs=case.kwargs, dynamic=case.dynamic, samples=2)
        paths.append(folder / name)
    return paths


def main() -> int:
    """Verify the corpus on each pair, print a line for each, and return 1 if a pair within the bounds failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every pair, those that are refused included")
    parser.add_argument("--pairs", nargs="+", metavar="ONNXRUNTIME,NUMPY")
    parser.add_argument("--idioms", action="store_true", help="with the models of tests/idioms (some minutes)")
    parser.add_argument("--corpus", type=Path, help="folder of artifacts to verify in place of the corpus")
    parser.add_argument("--python", default=sys.executable, help="the Python to verify under (this one)")
    options = parser.parse_args()
    pairs = [tuple(pair.split(",")) for pair in options.pairs or ()] or (PAIRS if options.all else OLDEST_AND_NEWEST)
    folder = Path(tempfile.mkdtemp(prefix="odelet-engines-"))
    try:
        if options.corpus is not None:
            artifacts = sorted(path.parent.resolve() for path in options.corpus.glob("*/odelet.json"))
        else:
            artifacts = corpus(folder / "exported")
            artifacts += idioms(folder / "idioms") if options.idioms else []
        results = []
        for pair in pairs:
            results.append(verified(folder, (pair[0], pair[1]), artifacts, options.python))
            print(line_of(results[-1], ("onnxruntime", "numpy")), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(not all(map(all_good, results)))


if __name__ == "__main__":
    raise SystemExit(main())
