"""The targets of `odelet build`, each a line that says what it allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from odelet.artifact.folder import Checked
from odelet.artifact.samples import Sample
from odelet.engine.native import cache_folder
from odelet_export.targets.build.built import Built, Tested
from odelet_export.targets.build.c import compiler, native, target
from odelet_export.targets.build.translate import Program

_OF_C = ("float32", "float64", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of engine for which artifacts are built.

    name: as users spell it. about: a clause that says what is written. dtypes: the element types that it has. profile:
    the profile of exports that fit it, for advice. writer: takes a program, a name and the artifact's samples, and
    returns what writes the files into a folder. test: tests the files in a folder; it returns None where what it needs
    is not installed. reports: whether what the solves report is among the outputs. place: the folder to write into
    where the user names none, by the digest of the artifact; None where the user has to name one.
    """

    name: str
    about: str
    dtypes: Sequence[str]
    profile: str
    writer: Callable[[Program, str, Checked, list[Sample]], Callable[[Path], Built]]
    test: Callable[[Path, Built, Path], Tested | None]
    reports: bool = False
    place: Callable[[str], Path] | None = None


C = Target(
    name="c",
    about="plain C for any compiler and any device",
    dtypes=_OF_C,
    profile="c",
    writer=target.writer,
    test=compiler.tested,
)

NATIVE = replace(
    C,
    name="native",
    about="a library for this machine, which odelet.load(..., engine='native') runs in place of ONNX Runtime",
    writer=native.writer,
    test=native.tested,
    reports=True,
    place=cache_folder,
)

TARGETS = {one.name: one for one in (C, NATIVE)}
