"""Where a model was loaded from, and which artifact that was: enough to load the same model again.

The law here: nothing of a model travels between processes but this, and the artifact is checked again where it arrives.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

# A lone file of at most this size travels as its bytes: reading it again costs more than sending it.
TRAVELS_WHOLE = 2**20


@dataclass(frozen=True)
class Origin:
    """Where a model was loaded from.

    path: absolute, with links followed. digest: the SHA-256, as hex digits, of the card of a folder, which has the
    hashes of all other files; or the digest of a lone file. data: the bytes of a small lone file, else None.
    """

    path: str
    digest: str
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of_folder(cls, path: Path, card: bytes) -> Origin:
        """The origin of a model that is a folder. card: the bytes of its card."""
        return cls(os.path.realpath(path), hashlib.sha256(card).hexdigest())

    @classmethod
    def of_file(cls, path: Path, data: bytes, *, seal: str | None) -> Origin:
        """The origin of a model that is a lone file. seal: the digest that the file carries, if it carries one."""
        digest = hashlib.sha256(data).hexdigest() if seal is None else seal
        return cls(os.path.realpath(path), digest, data if len(data) <= TRAVELS_WHOLE else None)
