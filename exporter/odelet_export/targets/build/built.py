"""What a build tells of its result, and the errors of builds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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

    name: of functions, files or folders. files: their names, relative to the build's folder. arena, live, weights,
    kernels, 0 for targets that are no code: bytes that a call needs, of which `live` are in use at once; bytes of
    constants; and how many functions of operators there are. samples: how many calls its test makes. made: the names of
    files that its Makefile makes. notes: what the user should know of it, a line each.
    """

    name: str
    files: tuple[str, ...]
    arena: int = 0
    live: int = 0
    weights: int = 0
    kernels: int = 0
    samples: int = 0
    made: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_code(self) -> bool:
        """Whether the target is code, which has an arena."""
        return self.arena > 0

    @property
    def facts(self) -> dict[str, Any]:
        """The fields as a dict, without those that the target does not have."""
        return {key: value for key, value in asdict(self).items() if self.is_code or key not in _OF_CODE}


_OF_CODE = ("arena", "live", "weights", "kernels", "made")


@dataclass(frozen=True)
class Tested:
    """What the test of a build said. passed: whether all outputs are within what is allowed. text: its last line, or
    what went wrong. by: the compiler or the engine that ran it."""

    passed: bool
    text: str
    by: str
