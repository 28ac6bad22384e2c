"""The commands of docs/embedded.md lead from a trained model to an object for a microcontroller, as they stand."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("emx_onnx_cgen") is None, reason="emx-onnx-cgen is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed"),
]

# The commands are registered by hand, so that no installed entry point is needed.
ODELET = f"""#!{sys.executable}
from importlib.metadata import EntryPoint
from odelet import cli
places = {{name: f"odelet_export.commands.{{name}}_cli:{{name}}_command" for name in ("export", "build")}}
cli.entry_points = lambda group: [EntryPoint(name, place, group) for name, place in places.items()]
cli.main()
"""


def commands():
    """The commands of the page, each with the lines that it reads."""
    text = (ROOT / "docs" / "embedded.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```console\n(.*?)```", text, re.S)
    return [command.strip() for command in re.split(r"^\$ ", block, flags=re.M) if command]


def test_there_are_ten_commands_and_they_work(tmp_path):
    lines = commands()
    assert len(lines) == 10
    command = tmp_path / "bin" / "odelet"
    command.parent.mkdir()
    command.write_text(ODELET)
    command.chmod(0o755)
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": paths}
    for line in lines:
        tool = line.split()[0]
        if tool == "pip" or (tool.startswith("arm-none-eabi-") and shutil.which(tool) is None):
            continue
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
