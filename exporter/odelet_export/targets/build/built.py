"""What a build tells of its result, and the errors of builds."""

from __future__ import annotations

from dataclasses import dataclass

from odelet_intercept.errors import ExportError


class BuildError(ExportError, ValueError):
    """An artifact that a target cannot have, or a tool that a build needs and that is missing."""


class CompilerError(BuildError):
    """A C compiler that fails, or that compiles for another machine."""

    keep = True  # the source is left beside the folder that was to be written, for a look at what did not compile


class WrongBuildError(ExportError):
    """The code that was built gives other answers than the artifact's samples. folder: where it was left."""

    keep = True  # the staging folder is not removed, but renamed to `folder`
    exit_code = 3

    def __init__(self, message: str, folder: str) -> None:
        super().__init__(message, folder)
        self.message = message
        self.folder = folder

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Built:
    """The files of a build and its sizes.

    name: of functions and files. files: their names. made: the names of files that its Makefile makes. arena: bytes
    that a call needs, of which `live` are in use at once. weights: bytes of constants. kernels: how many functions of
    operators there are. samples: how many calls its test makes.
    """

    name: str
    files: tuple[str, ...]
    arena: int
    live: int
    weights: int
    kernels: int
    samples: int = 0
    made: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tested:
    """What the test of a build said. passed: whether all outputs are within what is allowed. text: its last line, or
    what went wrong. compiler: what compiled it."""

    passed: bool
    text: str
    compiler: str
