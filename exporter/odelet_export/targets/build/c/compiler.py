"""Finds the C compiler, runs it and what it compiled, and says how either of them failed."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from odelet_export.targets.build.built import BuildError, Built, CompilerError, Tested
from odelet_export.targets.build.c.beside import FLAGS

# How long a compiler, or the program of a test, may run.
_SECONDS = 600
# How much of what a program said is repeated.
_REPEATED = 2000
_KNOWN = ("cc", "gcc", "clang")


@dataclass(frozen=True)
class Ended:
    """A program that ended. code: its exit status, below 0 for a signal, None where it did not end by itself. out,
    said: its standard output, and its standard error. failure: how it failed, as the end of a sentence; "" where its
    status was 0."""

    code: int | None
    out: str
    said: str
    failure: str


def compiler() -> list[str] | None:
    """The C compiler of this machine, as words of a command; None where there is none. CC names another one.

    Raises BuildError where CC does not name a program.
    """
    named = os.environ.get("CC", "").strip()
    if not named:
        return next(([name] for name in _KNOWN if shutil.which(name) is not None), None)
    way_out = f"name a C compiler, or leave CC out for {', '.join(_KNOWN[:-1])} or {_KNOWN[-1]}"
    try:
        words = shlex.split(named)
    except ValueError as error:
        raise BuildError(f"CC={named!r} cannot be read as the words of a command ({error}); {way_out}") from None
    if not words or shutil.which(words[0]) is None:
        raise BuildError(f"CC={named!r}: there is no program {(words or [''])[0]!r} that can be run; {way_out}")
    return words


def compile_file(
    command: Sequence[str], flags: Sequence[str], sources: Sequence[str], output: str, folder: Path
) -> None:
    """Compile sources that lie in a folder. output: the file to make, relative to that folder.

    Raises CompilerError, with what the compiler said, where it fails or makes no file.
    """
    words = [*command, *flags, *sources, "-o", output, "-lm"]
    done = run(words, folder)
    made = (folder / output).is_file()
    if not done.failure and made:
        return
    said = done.said.strip()[-_REPEATED:] or done.out.strip()[-_REPEATED:]
    raise CompilerError(
        f"the C compiler {shlex.join(command)} {done.failure or f'made no file {Path(output).name}'}"
        f"{f' and said: {said}' if said else ' and said nothing'}\nIts command was {shlex.join(words)}\n"
        "CC names another compiler"
    )


def tested(folder: Path, built: Built, _artifact: Path) -> Tested | None:
    """Compile and run the test of a build; None where there is no compiler.

    Raises BuildError and CompilerError where there is one that fails, or that compiles for another machine.
    """
    command, name = compiler(), built.name
    if command is None:
        return None
    said = shlex.join(command)
    with tempfile.TemporaryDirectory() as outside:
        program = str(Path(outside, "test"))
        compile_file(command, FLAGS.split(), [f"odelet_{name}.c", f"test_{name}.c"], program, folder)
        done = run([program])
    if done.code is None:
        raise CompilerError(
            f"the test that {said} compiled {done.failure}; where {said} compiles for another machine, leave CC out "
            f"here, and test there or in an emulator: make test CC={said!r} RUN=qemu-arm"
        )
    lines = (done.out + done.said).strip().split("\n")
    if done.code not in (0, 1):
        return Tested(False, f"the test {done.failure}: " + "\n".join(lines[-5:]), said)
    return Tested(done.code == 0, lines[-1], said)


def run(command: Sequence[str], folder: Path | None = None) -> Ended:
    """Run a command in a folder, for ten minutes at most. All processes that it began are ended with it."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Ended(None, "", "", f"cannot be run ({error.strerror or error})")
    try:
        out, said = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        _end(process)
        return Ended(None, "", "", f"took more than {_SECONDS} s and was ended")
    except BaseException:
        _end(process)
        raise
    return Ended(process.returncode, out, said, _failure(process.returncode))


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those that it began, which would hold its pipes open."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.communicate()


def _failure(code: int) -> str:
    """How a program failed, by its exit status."""
    if code >= 0:
        return f"ended with exit status {code}" if code else ""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"number {-code}"
    memory = ", as on a machine whose memory is full" if name == "SIGKILL" else ""
    return f"was ended by the signal {name}{memory}"
