"""The targets of `odelet build`, each a line that says what it writes, and for which profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from odelet.artifact.folder import Checked
from odelet.artifact.samples import Sample
from odelet.engine.user_cache import library_folder
from odelet_export.lowering import profiles
from odelet_export.lowering.profiles import Profile
from odelet_export.targets.build.built import Built, Tested
from odelet_export.targets.build.c import compiler, native, target
from odelet_export.targets.build.hosts import ort, triton, web
from odelet_export.targets.build.names import IN_C, OF_FOLDER, NameRule
from odelet_export.targets.build.translate import Program, translated

# Writes the files of a build into a folder.
Write = Callable[[Path], Built]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of engine for which artifacts are built.

    name: as users spell it. about: a clause that says what is written. profile: what its graphs may use, which is the
    profile of exports that fit it. writer: takes a checked artifact, a name and the artifact's samples, and returns
    what writes the files into a folder. test: tests the files in a folder; it returns None where what it needs is not
    installed. names: what names it takes. place: the folder to write into where the user names none, by the digest of
    the artifact; None where the user has to name one.
    """

    name: str
    about: str
    profile: Profile
    writer: Callable[[Checked, str, list[Sample]], Write]
    test: Callable[[Path, Built, Path], Tested | None]
    names: NameRule
    place: Callable[[str], Path] | None = None


def _of_program(
    write: Callable[[Program, str, Checked, list[Sample]], Write], *, reports: bool
) -> Callable[[Checked, str, list[Sample]], Write]:
    """The writer of a target that takes an artifact's program as instructions. reports: whether what the solves report
    is among the outputs."""

    def writer(checked: Checked, name: str, samples: list[Sample]) -> Write:
        profile = profiles.C
        program = translated(checked, dtypes=profile.types, profile=profile.name, reports=reports)
        return write(program, name, checked, samples)

    return writer


C = Target(
    name="c",
    about="plain C for any compiler and any device",
    profile=profiles.C,
    writer=_of_program(target.writer, reports=False),
    test=compiler.tested,
    names=IN_C,
)

NATIVE = replace(
    C,
    name="native",
    about="a library for this machine, which odelet.load(..., engine='native') runs in place of ONNX Runtime",
    writer=_of_program(native.writer, reports=True),
    test=native.tested,
    place=library_folder,
)

WEB = Target(
    name="web",
    about="an artifact for ONNX Runtime in JavaScript, in a browser or in Node, WebGPU included",
    profile=profiles.WEB,
    writer=web.writer,
    test=web.tested,
    names=OF_FOLDER,
)

ORT = Target(
    name="ort",
    about="a file in ONNX Runtime's format .ort with the list of its operators, as for phones",
    profile=profiles.GENERAL,
    writer=ort.writer,
    test=ort.tested,
    names=OF_FOLDER,
)

TRITON = Target(
    name="triton",
    about="a model repository of NVIDIA's Triton server",
    profile=profiles.TRITON,
    writer=triton.writer,
    test=triton.tested,
    names=OF_FOLDER,
)

TARGETS = {one.name: one for one in (C, NATIVE, WEB, ORT, TRITON)}
