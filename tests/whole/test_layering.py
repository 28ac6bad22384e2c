"""Imports run in one direction between the packages: every import statement is read and checked."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.paths import ROOT

HEAVY = {"torch", "torchdiffeq", "onnx", "onnx_ir", "onnxscript", "lightning", "sklearn", "scipy", "matplotlib", "rich"}
OURS = {"odelet", "odelet_export", "odelet_intercept", "odelet_models", "odelet_train"}

# Optional packages, each with the only file that may import it, inside a function.
ALLOWED = {"scipy.py": {"scipy"}, "plot.py": {"matplotlib"}, "fan.py": {"matplotlib"}, "pareto.py": {"matplotlib"}}

# The folder and the package, and the packages that no file of it may import.
LAYERS = {
    "odelet": ("runtime", HEAVY | OURS - {"odelet"}),
    "odelet_intercept": (
        "exporter",
        {"odelet_export", "odelet_train", "odelet_models", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "lightning"},
    ),
    "odelet_export": ("exporter", {"odelet_train", "odelet_models", "lightning", "sklearn", "scipy", "matplotlib"}),
    # A model knows nothing of its export, but for the function `mark`.
    "odelet_models": ("models", {"odelet", "odelet_intercept", "odelet_train", "lightning", "onnx", "onnxruntime"}),
    "odelet_train": ("trainer", set()),
}


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", LAYERS)
def test_no_file_imports_a_package_that_its_layer_forbids(package):
    folder, banned = LAYERS[package]
    files = sorted((ROOT / folder / package).rglob("*.py"))
    assert files
    for path in files:
        allowed = ALLOWED.get(path.name, set())
        wrong = imported(path) & banned - allowed
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_only_the_command_line_of_the_runtime_imports_typer():
    files = (ROOT / "runtime" / "odelet").rglob("*.py")
    assert {path.parent.name for path in files if "typer" in imported(path)} == {"cli"}


def test_models_import_nothing_of_odelet_but_mark():
    for path in (ROOT / "models" / "odelet_models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("odelet_export"):
                assert [alias.name for alias in node.names] == ["mark"], path.name
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("odelet_export") for alias in node.names), path.name


@pytest.mark.parametrize(
    "module", ["odelet", "odelet.cli", "odelet_export", "odelet_export.commands.export_cli", "odelet_train.cli"]
)
def test_importing_a_package_does_not_import_torch(module):
    heavy = sorted(HEAVY - {"rich"} | ({"typer"} if module == "odelet" else set()))
    code = f"import {module}, sys; sys.exit(','.join(name for name in {heavy} if name in sys.modules) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_plain_install_does_not_need_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [name.split(">")[0] for name in sorted(project["dependencies"])] == ["numpy", "onnxruntime", "typer"]
    assert {"export", "train", "dev"} <= set(project["optional-dependencies"])
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert "torch==2.13.0" in pins
