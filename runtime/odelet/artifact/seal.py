"""The digest that a lone graph carries of its own bytes, in its metadata.

The law here: the digest is of all bytes of the file, with zeros in the place of the digest itself.
"""

from __future__ import annotations

import hashlib

from odelet.artifact.proto import ModelFacts, scan
from odelet.errors import ArtifactError

SEAL_KEY = "odelet.sha256"
# What stands in the place of the digest while it is taken.
BLANK = "0" * 64


def sealed(data: bytes, *, name: str) -> bytes:
    """Return a graph whose metadata have BLANK under SEAL_KEY, with its digest in that place. name: for messages."""
    facts = scan(data, name=name)
    assert facts.metadata.get(SEAL_KEY) == BLANK, "the metadata have a place for the digest"
    start, stop = facts.places[SEAL_KEY]
    return data[:start] + _digest(data, start, stop).encode() + data[stop:]


def check_seal(data: bytes, facts: ModelFacts, *, name: str, needed: bool) -> None:
    """Raise ArtifactError unless the digest of a lone graph is that of its bytes.

    facts: of the graph. name: of its file, for messages. needed: whether there must be a digest; odelet 0.1 wrote none.
    """
    if SEAL_KEY not in facts.metadata:
        if needed:
            raise ArtifactError(
                f"{name}: it carries no {SEAL_KEY}, so it was changed after its export; export it again"
            )
        return
    start, stop = facts.places[SEAL_KEY]
    if facts.metadata[SEAL_KEY] != _digest(data, start, stop):
        raise ArtifactError(
            f"{name}: its sha256 is not the one that it carries, so its bytes have changed: copy it again, or export "
            "the model again"
        )


def _digest(data: bytes, start: int, stop: int) -> str:
    """The digest of a file in which the bytes from start to stop are blank, as 64 hex digits."""
    view, digest = memoryview(data), hashlib.sha256()
    for part in (view[:start], BLANK.encode(), view[stop:]):
        digest.update(part)
    return digest.hexdigest()
