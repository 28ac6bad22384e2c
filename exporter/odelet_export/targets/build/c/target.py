"""The target `c`: the files of an artifact's C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from odelet.artifact.folder import Checked
from odelet.artifact.samples import Sample
from odelet_export.targets.build.built import Built
from odelet_export.targets.build.c.beside import fitting, license_text, makefile_text, samples_text, test_text
from odelet_export.targets.build.c.source import Source
from odelet_export.targets.build.translate import Program


def writer(program: Program, name: str, checked: Checked, samples: list[Sample]) -> Callable[[Path], Built]:
    """A function that writes the files of a program into a folder. name: for functions and files. checked: the
    artifact. samples: its samples.

    Raises BuildError for what cannot be written in C, before anything is written.
    """
    source = Source(program, name)
    inputs = program.card.inputs
    outputs = tuple(tensor for _, tensor in program.outputs.values())
    kept = fitting(samples)
    texts = {
        f"odelet_{name}.h": source.header(),
        f"odelet_{name}.c": source.source(),
        "samples.h": samples_text(kept, inputs, outputs),
        f"test_{name}.c": test_text(name, inputs, outputs),
        "Makefile": makefile_text(name),
        "LICENSE.txt": license_text(name),
    }

    def write(folder: Path) -> Built:
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        made = (f"odelet_{name}.o", f"test_{name}")
        return replace(source.built, files=tuple(texts), made=made, samples=len(kept))

    return write
