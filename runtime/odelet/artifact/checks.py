"""Checks of what stands in a card, with the error that says so.

The law here: each raises ArtifactError, and says nothing of what is right.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from odelet.errors import ArtifactError

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def check(condition: bool, message: str) -> None:
    """Raise ArtifactError with the message unless the condition holds."""
    if not condition:
        raise ArtifactError(f"card: {message}")


def check_file_name(name: str) -> None:
    """Refuse a name that is not one of a file in the artifact's own folder."""
    # A name that means the same on every system, and can only mean a file of this very folder.
    check(
        _FILE_NAME.fullmatch(name) is not None and not name.endswith("."),
        f"file name {name!r} is not portable; use letters, digits, '_', '-' and '.', and no folders",
    )


def check_names(what: str, names: list[str], allowed: Collection[str]) -> None:
    """Refuse a name that is not among those allowed."""
    for name in names:
        check(name in allowed, f"{what} {name!r} is unknown; known are {', '.join(allowed)}")
