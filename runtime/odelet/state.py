"""The state inside a solver is one row, (1, n). A Layout says how a model's state lies in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from odelet.backend import Array

Tolerance = Any  # a scalar, or a sequence of one scalar for each part of the state


@dataclass(frozen=True)
class Layout:
    """How the parts of a state lie in a row, and how large an error in it is.

    shapes: of each part, in whatever the backend's reshape takes. sizes: the number of elements of each
    part, or None when there is one part, which is the whole row. measure: the norm, a scalar of the parts in
    the model's shapes, or None for the root mean square. scalar: whether the state is one number of shape ().
    """

    shapes: Sequence[Any]
    sizes: Any | None = None
    measure: Callable[[list[Array]], Array] | None = None
    scalar: bool = False

    @classmethod
    def of(cls, parts: Sequence[Array], measure: Callable[[list[Array]], Array] | None = None) -> Layout:
        """The layout of numpy arrays."""
        sizes = [part.size for part in parts] if len(parts) > 1 else None
        shapes = [part.shape for part in parts]
        return cls(shapes, sizes, measure, scalar=shapes == [()])

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
        """How large a row is, a scalar.

        Root mean square over all elements; with several parts, the largest of theirs, as in torchdiffeq; or
        the absolute value of what `measure` says.
        """
        if self.measure is not None:
            return abs(self.measure(self.unpack(row, xp=xp)))
        norms = [xp.rms(piece) for piece in self.parts(row, xp=xp)]
        largest = norms[0]
        for norm in norms[1:]:
            largest = xp.maximum(largest, norm)
        return largest

    def allowed(self, size: Array, *, rtol: Tolerance, atol: Tolerance, xp: Any) -> Array:
        """The error that the tolerances allow in elements of these sizes, atol + rtol * size: (1, n).

        In the dtype of the sizes, but in that of the tolerances where each part has its own or the state is a
        number of shape (): torch promotes so.
        """
        if isinstance(rtol, (list, tuple)) or isinstance(atol, (list, tuple)):
            pieces = self.parts(size, xp=xp)
            rtols, atols = (x if isinstance(x, (list, tuple)) else [x] * len(pieces) for x in (rtol, atol))
            bounds = [a + r * xp.cast(piece, a) for piece, r, a in zip(pieces, rtols, atols, strict=True)]
            return bounds[0] if len(bounds) == 1 else xp.concat(bounds, axis=1)
        if self.scalar:
            return atol + rtol * xp.cast(size, atol)
        return xp.cast(atol, size) + xp.cast(rtol, size) * size
