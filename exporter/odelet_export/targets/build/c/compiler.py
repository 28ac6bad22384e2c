"""Compiles and runs the test of a build, where a C compiler is found."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from odelet_export.targets.build.built import Built, Tested
from odelet_export.targets.build.c.beside import FLAGS

_SECONDS = 600


def compiler() -> list[str] | None:
    """The C compiler of this machine, as words of a command; None where there is none. CC names another one."""
    words = shlex.split(os.environ.get("CC", ""))
    for command in [words] if words else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]) is not None:
            return command
    return None


def tested(folder: Path, built: Built, _artifact: Path) -> Tested | None:
    """Compile and run the test of a build; None where there is no compiler."""
    command, name = compiler(), built.name
    if command is None:
        return None
    said = " ".join(command)
    with tempfile.TemporaryDirectory() as outside:
        program = Path(outside, "test")
        sources = [str(folder / f"odelet_{name}.c"), str(folder / f"test_{name}.c")]
        done = run([*command, *FLAGS.split(), *sources, "-o", str(program), "-lm"])
        if done.returncode:
            return Tested(False, f"{said} does not compile it:\n{done.stderr.strip()[-2000:]}", said)
        done = run([str(program)])
    text = (done.stdout + done.stderr).strip().split("\n")
    if done.returncode not in (0, 1):
        return Tested(False, f"the test ended with {done.returncode}: " + "\n".join(text[-5:]), said)
    return Tested(done.returncode == 0, text[-1], said)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command, for ten minutes at most."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"it took more than {_SECONDS} s")
