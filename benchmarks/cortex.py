"""Programs for a Cortex-M4 from the C of an artifact: what a program takes of flash and of RAM, and its run in an
emulator.

The program of a model makes one call. `board.c` starts it, and `board.ld` places it in the memory of the board
mps2-an386, which qemu-system-arm emulates.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odelet.artifact.folder import check
from odelet.artifact.samples import samples_of
from odelet_export.targets.build.c.header import identifier, macro
from odelet_export.targets.build.c.numbers import array, ctype

BOARD = Path(__file__).resolve().parent / "cortex_m4"
COMPILER, SIZE, EMULATOR = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
PROCESSOR = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
FLAGS = ["-std=c99", "-Os", "-ffunction-sections", "-fdata-sections", *PROCESSOR]
LINKED = ["-nostartfiles", "-Wl,--gc-sections", "--specs=nano.specs", "--specs=nosys.specs"]
# How long a program may run in the emulator.
SECONDS = 300


@dataclass(frozen=True)
class Program:
    """A linked program. file: it. text, data, bss: the bytes of its sections: flash has text and data, RAM data and
    bss."""

    file: Path
    text: int
    data: int
    bss: int


def missing(*tools: str) -> str:
    """Which of some tools is not installed; "" where all are."""
    return ", ".join(tool for tool in tools or (COMPILER, SIZE, EMULATOR) if shutil.which(tool) is None)


def program(artifact: Path, build: Path, name: str, out: Path) -> Program:
    """Link the program that makes one call of a build. name: of its function. out: the file to write."""
    main = out.with_suffix(".c")
    main.write_text(_main(artifact, name), encoding="utf-8")
    return _linked([main, build / f"odelet_{name}.c"], build, [], out)


def test_program(build: Path, name: str, out: Path) -> Program:
    """Link the test of a build, with a printf that prints floats. out: the file to write."""
    sources = [build / f"test_{name}.c", build / f"odelet_{name}.c"]
    return _linked(sources, build, ["-u", "_printf_float"], out)


def emulated(file: Path, *, counting: bool = False) -> str:
    """What a program prints in the emulator. counting: whether a nanosecond of its clock is an instruction."""
    words = [EMULATOR, "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]
    words += ["-semihosting-config", "enable=on,target=native", "-kernel", str(file)]
    words += ["-icount", "shift=0"] if counting else []
    return _run(words)


def call(file: Path) -> dict[str, int]:
    """What the program of a model says of its call: status, steps, bytes of stack, and instructions, 0 if unknown."""
    return {name: int(number) for name, number in re.findall(r"^(\w+) (\d+)$", emulated(file, counting=True), re.M)}


def _linked(sources: Sequence[Path], build: Path, more: Sequence[str], out: Path) -> Program:
    files = [str(file) for file in (BOARD / "board.c", *sources)]
    words = [*FLAGS, *LINKED, *more, "-T", str(BOARD / "board.ld"), f"-I{BOARD}", f"-I{build}"]
    _run([COMPILER, *words, *files, "-o", str(out), "-lm"])
    sizes = [int(word) for word in _run([SIZE, str(out)]).splitlines()[1].split()[:3]]
    return Program(out, *sizes)


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def _main(artifact: Path, name: str) -> str:
    """The text of a program that makes one call, on the first sample of the artifact."""
    card = check(artifact).card
    sample, upper = samples_of(card, artifact)[0][0], name.upper()
    inputs = [array(f"in_{identifier(t.name)}", np.asarray(sample[t.name]).reshape(-1)) for t in card.inputs]
    outputs = [
        f"static {ctype(np.dtype(t.dtype))} out_{identifier(t.name)}[ODELET_{upper}_OUT_{macro(t.name)} + 1];"
        for t in card.outputs
    ]
    given = [f"in_{identifier(t.name)}" for t in card.inputs]
    taken = [f"out_{identifier(t.name)}" for t in card.outputs]
    return f"""\
#include "odelet_{name}.h"
#include "board.h"

{chr(10).join([*inputs, *outputs])}
static union {{
    double aligned;
    unsigned char bytes[ODELET_{upper}_ARENA];
}} arena;

int main(void) {{
    odelet_stats stats;
    board_stack_mark();
    board_clock_start();
    int status = odelet_{name}_solve({", ".join([*given, "NULL", *taken, "arena.bytes", "&stats"])});
    board_report("instructions", board_clock());
    board_report("stack", board_stack_used());
    board_report("steps", (uint32_t)stats.steps);
    board_report("status", (uint32_t)status);
    return status;
}}
"""
