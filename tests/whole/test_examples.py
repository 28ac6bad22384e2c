"""The examples run, and the README shows their code as it is."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
from support.paths import ROOT

import odelet
from odelet_models.datasets import digits

EXAMPLES = ROOT / "examples"


@pytest.fixture
def checkout(tmp_path):
    """A folder with the layout of the repository, into which the examples write."""
    for name in ("examples", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.slow
def test_the_quickstart_in_python(checkout):
    command = [sys.executable, "examples/quickstart.py"]
    process = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    fast, default = map(int, re.fullmatch(r"(\d+) steps instead of (\d+)\n", process.stdout).groups())
    assert fast < default
    assert odelet.verify(checkout / "out" / "spiral").passed


@pytest.mark.slow
@pytest.mark.skipif(not entry_points(group="odelet.commands", name="export"), reason="odelet is not installed")
def test_the_quickstart_on_the_command_line(checkout):
    odelet_command = checkout / "bin" / "odelet"
    odelet_command.parent.mkdir()
    odelet_command.write_text(f"#!{sys.executable}\nfrom odelet.cli import main\nmain()\n")
    odelet_command.chmod(0o755)
    path = f"{odelet_command.parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", "examples/quickstart.sh"]
    process = subprocess.run(
        command, cwd=checkout, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    logits = np.loadtxt(checkout / "out" / "logits.csv", delimiter=",")
    assert "Exported ODENet to out/digits" in process.stdout
    assert "\npassed" in process.stdout
    assert "status OK" in process.stdout
    assert "ODENet: form adaptive" in process.stdout
    assert "latency     p50" in process.stdout
    assert logits.argmax(1).tolist() == digits().test[1][:5].tolist()


def test_the_digits_of_the_quickstart_were_not_trained_on():
    images = np.loadtxt(EXAMPLES / "digits.csv", delimiter=",")
    np.testing.assert_array_equal(images, digits().test[0][:5])


@pytest.mark.slow
def test_the_demo_compares_a_device_without_torch_with_torch(tmp_path, monkeypatch, capfd):
    monkeypatch.syspath_prepend(EXAMPLES)
    import demo

    # One form is enough here: all four take a minute, and the artifacts have tests of their own.
    monkeypatch.setattr(demo, "FORMS", {"adaptive": {}})
    monkeypatch.setattr(demo, "OUT", tmp_path)
    demo.main()
    output = capfd.readouterr().out
    (row,) = [line.split() for line in output.splitlines() if line.split()[:2] == ["adaptive", "dopri5"]]
    assert "torch, torchdiffeq, onnx, onnxscript cannot be imported" in output
    assert row[2:4] == ["99.2%", "100.0%"]
    assert float(row[4]) < 1e-4
    assert row[5] == "20"
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_the_device_of_the_demo_stops_when_torch_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import demo_device

    monkeypatch.setattr(demo_device, "Absence", lambda: demo_device)  # a finder that hides no package
    monkeypatch.setattr(demo_device, "find_spec", lambda *args: None, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    with pytest.raises(SystemExit, match="torch can be imported, so this would prove nothing"):
        demo_device.prove_absent()


def test_the_readme_shows_the_code_of_the_examples():
    shown = re.findall(r"^```(?:python|sh)\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    written = [file.read_text() for file in EXAMPLES.glob("*.*") if file.suffix in (".py", ".sh")]
    marked = [re.search(r"# \[quickstart\]\n(.*?)# \[/quickstart\]", text, flags=re.S) for text in written]
    parts = [match[1] for match in marked if match]
    assert len(parts) == 2
    assert all(any(block in part for part in parts) for block in shown)
