"""What `import odelet` gives, and what it must not bring."""

import subprocess
import sys

import odelet


def test_importing_odelet_brings_no_heavy_package():
    code = "import odelet, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "onnx", "onnxscript", "onnx_ir", "typer", "rich", "jsonschema", "scipy"}


def test_the_public_names_are_sorted_and_all_there():
    assert odelet.__all__ == sorted(odelet.__all__)
    assert set(odelet.__all__) == {
        *(
            "ArtifactError",
            "Event",
            "InputError",
            "Model",
            "OdeletError",
            "Solution",
            "SolveError",
            "Stats",
            "Status",
            "Stream",
        ),
        *("__version__", "load", "odeint", "verify"),
    }
    assert all(hasattr(odelet, name) for name in odelet.__all__)
