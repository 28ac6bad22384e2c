"""Checks of the entries of a card.

The law here: a check that fails raises ArtifactError; a check that passes does nothing.
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
    """Raise ArtifactError unless the name can only be that of a file in the artifact's own folder."""
    # Such a name means the same on every system, and leads into no other folder.
    check(
        _FILE_NAME.fullmatch(name) is not None and not name.endswith("."),
        f"file name {name!r} is not portable; use letters, digits, '_', '-' and '.', and no folders",
    )


def check_names(what: str, names: list[str], allowed: Collection[str]) -> None:
    """Raise ArtifactError naming `what` for the first name that is not allowed."""
    for name in names:
        check(name in allowed, f"{what} {name!r} is unknown; known are {', '.join(allowed)}")
