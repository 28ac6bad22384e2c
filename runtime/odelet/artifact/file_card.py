"""What a card says of a file of its folder.

The law here: the dataclass is the format, as in `card`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from odelet.artifact.checks import check


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """What the card says of a file. sha256: of its bytes, as 64 lower-case hex digits. bytes: its size."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        good = re.fullmatch("[0-9a-f]{64}", self.sha256) is not None
        check(good, f"sha256 {self.sha256!r} is not 64 lower-case hex digits")
        check(self.bytes >= 0, f"a file's size is {self.bytes}")
