"""A copy of torchdiffeq that has the library's name, beside the user's script, is what the model uses, is traced, and
is compared with; the installed torchdiffeq stays what odelet computes with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torchdiffeq
from support.command_line import call as command
from support.paths import ROOT

from odelet_intercept import solver_library
from odelet_intercept.solver_library import name_left_to_the_model, overtaken

MODEL = """
import torch
from torchdiffeq import odeint


class Model(torch.nn.Module):
    def forward(self, x):
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]))[-1]
"""
SCRIPT = """
import json, sys, torch
from odelet_export import export
import torchdiffeq
from model import Model

exported = export(Model(), (torch.ones(2, 3),), "out", dynamic={"x": {0: "batch"}}, samples=1)
print(json.dumps([torchdiffeq.__file__, exported.card.solves[0].method, exported.warnings, exported.parity.passed]))
"""


@pytest.fixture
def repository(tmp_path):
    """A folder with a copy of torchdiffeq at its top, whose default method is rk4, and a model."""
    shutil.copytree(ROOT / "tests" / "vendored", tmp_path / "torchdiffeq")
    for file in (tmp_path / "torchdiffeq").rglob("*.py"):
        file.write_text(file.read_text().replace("from vendored.", "from torchdiffeq."))
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


@pytest.mark.slow
def test_a_script_beside_a_copy_exports_what_the_copy_computes(repository):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, method, warnings, passed = json.loads(done.stdout.splitlines()[-1])
    assert (Path(file).parent, method, passed) == (repository / "torchdiffeq", "rk4", True)
    assert any(f"{repository / 'torchdiffeq' / '_impl'} was taken for a copy of torchdiffeq" in w for w in warnings)


def test_the_command_line_exports_what_the_copy_beside_the_file_computes(repository, capsys):
    out = repository / "out"
    code, shown, err = command(
        capsys, "export", f"{repository / 'model.py'}:Model", "--input", "x=float32[2,3]", "-o", out, "--samples", "1"
    )
    assert code == 0, err
    assert "rk4" in shown
    assert "was taken for a copy of torchdiffeq" in " ".join(shown.split())
    assert sys.modules["torchdiffeq"] is torchdiffeq


def test_a_copy_that_comes_to_the_front_later_is_told(repository, monkeypatch):
    assert overtaken() is None
    monkeypatch.syspath_prepend(repository)
    assert f"which was imported before {repository / 'torchdiffeq'} came to the front" in overtaken()
    with name_left_to_the_model():
        import torchdiffeq as other

        assert Path(other.__file__).parent == repository / "torchdiffeq"
        assert solver_library.torchdiffeq is torchdiffeq
    assert sys.modules["torchdiffeq"] is torchdiffeq


@pytest.mark.parametrize("missing", ["library", "parts"])
def test_without_an_installed_torchdiffeq_the_import_says_so(missing, repository, monkeypatch):
    monkeypatch.setattr(solver_library, "_installed_folder", lambda: None)
    if missing == "library":
        monkeypatch.setitem(sys.modules, "torchdiffeq", None)
        with pytest.raises(ImportError, match="odelet_export needs torchdiffeq; install it"):
            solver_library._imported()
        return
    monkeypatch.syspath_prepend(repository)
    with name_left_to_the_model(), pytest.raises(ImportError, match="is an old or changed copy of torchdiffeq"):
        solver_library._parts(solver_library._imported())
