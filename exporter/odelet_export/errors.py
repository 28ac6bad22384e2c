"""The errors of an export, as subclasses of odelet's error tree.

OdeletError
└── ExportError              the base of all below
    ├── CaptureError         the model cannot be traced; the message names the user's file and line
    ├── FormError            a form, method or option that does not go with a solve
    ├── OutputError          the artifact cannot be written: a full disk, no permission, a bad name
    └── ParityError          the artifact's answers differ from torch's; `.report` has the numbers
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from odelet_intercept.errors import ExportError


class FormError(ExportError, ValueError):
    """A form, method or option that a solve cannot have."""


class OutputError(ExportError):
    """The artifact cannot be written: a full disk, no permission, a name that the file system refuses.

    Nothing that is half-written was left, and an artifact that was there before is still there.
    """


@contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Raise OutputError in place of errors of the file system. out: what cannot be written, for the message."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{out}: it cannot be written ({error.strerror or error})") from error


class ParityError(ExportError):
    """The exported model's answers differ from torch's by more than the tolerance.

    report: the comparison with torch. folder: where the artifact was left for inspection.
    """

    keep = True  # the staging folder is not removed, but renamed to `folder`
    exit_code = 3

    def __init__(self, message: str, report: Any, folder: str) -> None:
        # All three go to args, so that the error survives pickling between processes.
        super().__init__(message, report, folder)
        self.message = message
        self.report = report
        self.folder = folder

    def __str__(self) -> str:
        return self.message
