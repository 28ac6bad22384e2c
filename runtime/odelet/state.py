"""The state inside a solver is one row, (1, n). A Layout says how a model's state lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from odelet.backend import Array


@dataclass(frozen=True)
class Layout:
    """How the parts of a state lie in a row.

    shapes: of each part, in whatever the backend's reshape takes. sizes: the number of elements of each
    part, or None when there is one part, which is the whole row.
    """

    shapes: Sequence[Any]
    sizes: Any | None = None

    @classmethod
    def of(cls, parts: Sequence[Array]) -> Layout:
        """The layout of numpy arrays."""
        sizes = [part.size for part in parts] if len(parts) > 1 else None
        return cls([part.shape for part in parts], sizes)

    def pack(self, parts: Sequence[Array], *, xp: Any) -> Array:
        """Parts in the model's shapes to a row (1, n)."""
        rows = [xp.reshape(part, (1, -1)) for part in parts]
        return rows[0] if self.sizes is None else xp.concat(rows, axis=1)

    def parts(self, row: Array, *, xp: Any) -> Sequence[Array]:
        """A row (or rows) cut at the ends of the parts, not reshaped."""
        return [row] if self.sizes is None else xp.split(row, self.sizes)

    def unpack(self, row: Array, *, xp: Any) -> list[Array]:
        """A row (1, n) to parts in the model's shapes."""
        pieces = self.parts(row, xp=xp)
        return [xp.reshape(piece, shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def norm(self, row: Array, *, xp: Any) -> Array:
        """Root mean square over all elements; with several parts, the largest of theirs, as in torchdiffeq."""
        norms = [xp.rms(piece) for piece in self.parts(row, xp=xp)]
        largest = norms[0]
        for norm in norms[1:]:
            largest = xp.maximum(largest, norm)
        return largest
