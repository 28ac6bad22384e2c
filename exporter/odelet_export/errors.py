"""The errors of an export, as subclasses of odelet's error tree.

OdeletError
└── ExportError              the base of all below
    ├── CaptureError         the model cannot be traced; the message names the user's file and line
    ├── FormError            a form, method or option that does not go with a solve
    └── ParityError          the artifact's answers differ from torch's; `.report` has the numbers
"""

from __future__ import annotations

from typing import Any

from odelet_intercept.errors import ExportError


class FormError(ExportError, ValueError):
    """A form, method or option that a solve cannot have."""


class ParityError(ExportError):
    """The exported model's answers differ from torch's by more than the tolerance.

    report: the comparison with torch. folder: where the artifact was left for inspection.
    """

    keep = True  # the staging folder is not removed, but renamed to `folder`
    exit_code = 3

    def __init__(self, message: str, report: Any, folder: str) -> None:
        super().__init__(message)
        self.report = report
        self.folder = folder
