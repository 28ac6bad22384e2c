"""The errors of a model that cannot be exported; they are defined here as the interception raises them, too."""

from __future__ import annotations

from odelet.errors import OdeletError


class ExportError(OdeletError):
    """An export failed; nothing was left in the output folder."""

    has_lines = True


class CaptureError(ExportError):
    """The model does something that cannot become a graph."""
