"""The target `native`: the C of the target `c` as a library for this machine, which the runtime calls."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from odelet import load, verify
from odelet.artifact.folder import Checked
from odelet.artifact.native_card import NATIVE_FILE, NativeCard, native_text
from odelet.artifact.samples import Sample
from odelet.engine.user_cache import processor
from odelet.errors import ArtifactError
from odelet_export.targets.build.built import BuildError, Built, CompilerError, Tested
from odelet_export.targets.build.c.beside import FLAGS, license_text
from odelet_export.targets.build.c.compiler import compile_file, compiler, run
from odelet_export.targets.build.c.header import common_setting
from odelet_export.targets.build.c.source import Source
from odelet_export.targets.build.translate import Program

# The library runs on the machine that compiled it, so that it may use all that this machine has. GCC writes loops of up
# to 16 turns out before it looks for vectors, and then finds none: a loop over 16 columns, as of products and
# convolutions, must stay a loop. Clang takes the parameter and ignores it.
_FLAGS = [
    *FLAGS.split(),
    *("-march=native", "-ffp-contract=fast", "--param=max-completely-peel-times=8"),
    *("-DODELET_FAST_TANH", "-shared", "-fPIC"),
]
# How many samples that differ are named.
_NAMED = 3
_ENDING = {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")


def writer(program: Program, name: str, checked: Checked, samples: list[Sample]) -> Callable[[Path], Built]:
    """A function that writes the library of a program, its source and its description into a folder. name: for
    functions and files. checked: the artifact. samples: its samples.

    Raises BuildError for what cannot be written in C, and where no C compiler is found, before anything is written.
    """
    command = compiler()
    if command is None:
        raise BuildError("the target native needs a C compiler: install gcc or clang, or name one with CC")
    source = Source(program, name)
    header, library, text = f"odelet_{name}.h", f"odelet_{name}.{_ENDING}", f"odelet_{name}.c"
    contents = {header: source.header(), text: source.source(), "LICENSE.txt": license_text(name)}

    def write(folder: Path) -> Built:
        for file, content in contents.items():
            (folder / file).write_text(content, encoding="utf-8")
        compile_file(command, _FLAGS, [text], library, folder)
        settings = {key: common_setting(program, key) for key in dict.fromkeys(one.key for one in program.settings)}
        card = NativeCard(
            library=library,
            sha256=hashlib.sha256((folder / library).read_bytes()).hexdigest(),
            function=f"odelet_{name}_solve",
            artifact=checked.origin.digest,
            machine=processor(),
            compiler=_version(command),
            arena=source.built.arena,
            settings=settings,
            inputs=program.card.inputs,
            outputs=tuple(tensor for _, tensor in program.outputs.values()),
        )
        (folder / NATIVE_FILE).write_text(native_text(card), encoding="utf-8")
        return replace(source.built, files=(*contents, library, NATIVE_FILE), samples=len(samples))

    return write


def tested(folder: Path, built: Built, artifact: Path) -> Tested:
    """Run the samples of the artifact by the library. Raises CompilerError where this machine does not load it."""
    card = json.loads((folder / NATIVE_FILE).read_text(encoding="utf-8"))
    try:
        model = load(artifact, engine="native", library=folder)
    except ArtifactError as error:
        raise CompilerError(
            f"this machine cannot load the library that {card['compiler']} made, as that compiles for another machine "
            f"or leaves functions out; leave CC out, or name a C compiler for this machine ({error})"
        ) from None
    verification = verify(model)
    failed = [f"sample {one.sample}, {one.output} {one.failure}" for one in verification.checks if not one.passed]
    text = f"{built.samples} samples, {'; '.join(failed[:_NAMED]) or 'within what is allowed'}"
    return Tested(verification.passed, text, card["compiler"])


def _version(command: list[str]) -> str:
    """What a compiler says of its version, in a line."""
    said = run([*command, "--version"]).out.strip().split("\n")[0]
    return said or " ".join(command)
