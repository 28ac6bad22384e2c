"""`import odelet` gives the public names, and loads no heavy package."""

import subprocess
import sys
from pathlib import Path

import pytest

import odelet


def modules_after(code):
    """The packages that are loaded in a new process after it has run `code`."""
    code += "; import sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_odelet_loads_no_optional_package():
    assert not modules_after("import odelet") & {"numpy", "onnxruntime"}


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="module 'odelet' has no attribute 'lod'"):
        odelet.lod  # noqa: B018
    assert {*odelet.__all__} <= {*dir(odelet)}


def test_no_module_of_odelet_has_the_name_of_a_public_function():
    """Importing such a module would replace the function by the module."""
    parts = {path.stem for path in Path(odelet.__file__).parent.glob("*.py")}
    assert not parts & {*odelet.__all__}


def test_no_module_of_odelet_loads_a_heavy_package():
    loaded = modules_after("import odelet; [getattr(odelet, name) for name in odelet.__all__]")
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "onnx", "onnxscript", "onnx_ir", "typer", "rich", "jsonschema", "scipy"}


def test_the_public_names_are_sorted_and_exist():
    assert odelet.__all__ == sorted(odelet.__all__)
    assert set(odelet.__all__) == {
        *(
            "ArtifactError",
            "CallSettings",
            "EngineError",
            "Event",
            "InputError",
            "Model",
            "OdeletError",
            "Solution",
            "SolveError",
            "SolveProgress",
            "Stats",
            "Status",
            "Stream",
        ),
        *("__version__", "load", "odeint", "sdeint", "verify"),
    }
    assert all(hasattr(odelet, name) for name in odelet.__all__)
