"""The targets of `odelet build`, each a line that says what it allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from odelet.artifact.samples import Sample
from odelet_export.targets.build.built import Built, Tested
from odelet_export.targets.build.c import compiler, target
from odelet_export.targets.build.translate import Program

_OF_C = ("float32", "float64", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of engine for which artifacts are built.

    name: as users spell it. about: a clause that says what is written. dtypes: the element types that it has. profile:
    the profile of exports that fit it, for advice. writer: takes a program, a name and the artifact's samples, and
    returns what writes the files into a folder. test: tests the files in a folder; it returns None where what it needs
    is not installed.
    """

    name: str
    about: str
    dtypes: Sequence[str]
    profile: str
    writer: Callable[[Program, str, list[Sample]], Callable[[Path], Built]]
    test: Callable[[Path, Built], Tested | None]


C = Target(
    name="c",
    about="plain C for any compiler and any device",
    dtypes=_OF_C,
    profile="c",
    writer=target.writer,
    test=compiler.tested,
)

TARGETS = {one.name: one for one in (C,)}
