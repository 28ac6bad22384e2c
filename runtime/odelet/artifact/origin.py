"""Where a model was loaded from, and which artifact that was: enough to load the same model again.

The law here: nothing of a model travels between processes but this, and the artifact is checked again where it arrives.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

# A lone file of at most this size travels as its bytes: reading it again costs more than sending it.
TRAVELS_WHOLE = 2**20


@dataclass(frozen=True)
class Origin:
    """Where a model was loaded from.

    path: absolute, with links followed. digest: the SHA-256 of the card of a folder, which has the hashes of all other
    files, or of a lone file, as hex digits. data: the bytes of a small lone file, else None.
    """

    path: str
    digest: str
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, path: str | os.PathLike[str], text: bytes, *, lone: bool) -> Origin:
        """The origin of a model. text: the bytes of the card, or of the lone file."""
        data = text if lone and len(text) <= TRAVELS_WHOLE else None
        return cls(os.path.realpath(path), hashlib.sha256(text).hexdigest(), data)
