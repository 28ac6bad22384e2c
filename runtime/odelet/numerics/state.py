"""The state inside a solver is one row, (1, n). A Layout says how a model's state lies in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from math import prod
from typing import Any

from odelet.numerics.backend import Array

Tolerance = Any  # a scalar, or a sequence of one scalar for each part of the state


@dataclass(frozen=True)
class Layout:
    """How the parts of a state lie in a row, and how large an error in it is.

    shapes: of each part, in whatever the backend's reshape takes. sizes: the number of elements of each
    part, or None when there is one part, which is the whole row. user_norm: the norm, a scalar of the parts in
    the model's shapes, or None for the root mean square. scalar: whether the state is one number of shape ().
    samples: for a batch whose samples are solved each on its own, the shapes (samples, width) that make each part
    a table, in whatever reshape takes; None for a state that is one whole. Times, lengths and norms are then rows
    of one number for each sample, (samples,).
    """

    shapes: Sequence[Any]
    _: KW_ONLY
    sizes: Any | None = None
    user_norm: Callable[[list[Array]], Array] | None = None
    scalar: bool = False
    table_shapes: Sequence[Any] | None = None

    @classmethod
    def of(
        cls,
        parts: Sequence[Array],
        *,
        user_norm: Callable[[list[Array]], Array] | None = None,
        per_sample: bool = False,
    ) -> Layout:
        """The layout of numpy arrays; per_sample: their first axis counts samples that are solved each on its own."""
        sizes = [part.size for part in parts] if len(parts) > 1 else None
        shapes = [part.shape for part in parts]
        tables = [(shape[0], prod(shape[1:])) for shape in shapes] if per_sample else None
        return cls(shapes, sizes=sizes, user_norm=user_norm, scalar=shapes == [()], table_shapes=tables)

    def pack(self, parts: Sequence[Array], *, xp: Any) -> Array:
        """Parts in the model's shapes to a row (1, n)."""
        rows = [xp.reshape(part, (1, -1)) for part in parts]
        return rows[0] if self.sizes is None else xp.concat(rows, axis=1)

    def slices(self, row: Array, *, xp: Any) -> Sequence[Array]:
        """A row (or rows) cut at the ends of the parts, not reshaped."""
        return [row] if self.sizes is None else xp.split(row, self.sizes)

    def unpack(self, row: Array, *, xp: Any) -> list[Array]:
        """A row (1, n) to parts in the model's shapes."""
        pieces = self.slices(row, xp=xp)
        return [xp.reshape(piece, shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def tables(self, rows: Array, count: int, *, xp: Any) -> list[Array]:
        """Rows (count, n) as (count, samples, width) for each part; a state that is one whole is one sample."""
        shapes = self.table_shapes if self.table_shapes is not None else [(1, -1)] * len(self.shapes)
        pieces = self.slices(rows, xp=xp)
        return [xp.reshape(p, xp.stacked_shape(count, shape)) for p, shape in zip(pieces, shapes, strict=True)]

    def from_tables(self, tables: Sequence[Array], *, xp: Any) -> Array:
        """A table (samples, width) for each part, as a row (1, n)."""
        rows = [xp.reshape(table, (1, -1)) for table in tables]
        return rows[0] if len(rows) == 1 else xp.concat(rows, axis=1)

    def norm(self, row: Array, *, xp: Any) -> Array:
        """How large a row is, a scalar.

        Root mean square over all elements; with several parts, the largest of theirs, as in torchdiffeq; or
        the absolute value of what `user_norm` says.
        """
        if self.user_norm is not None:
            return abs(self.user_norm(self.unpack(row, xp=xp)))
        pieces = self.slices(row, xp=xp)
        if self.table_shapes is None:
            norms = [xp.rms(piece) for piece in pieces]
        else:
            norms = [
                xp.rms(xp.reshape(piece, shape), axis=1) for piece, shape in zip(pieces, self.table_shapes, strict=True)
            ]
        largest = norms[0]
        for norm in norms[1:]:
            largest = xp.maximum(largest, norm)
        return largest

    def broadcast(self, x: Array, row: Array, *, xp: Any) -> Array:
        """A number for each sample over all elements of its state, (1, n); for a state that is one whole, x itself."""
        if self.table_shapes is None:
            return x
        column = xp.reshape(x, (-1, 1))
        tables = [xp.reshape(p, shape) for p, shape in zip(self.slices(row, xp=xp), self.table_shapes, strict=True)]
        pieces = [xp.reshape(xp.expand(column, table), (1, -1)) for table in tables]
        return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=1)

    def select(self, accept: Array, new: Array, old: Array, *, xp: Any) -> Array:
        """The new row where a step was accepted, else the old."""
        return xp.where(self.broadcast(accept, new, xp=xp), new, old)

    def allowed_error(self, size: Array, *, rtol: Tolerance, atol: Tolerance, xp: Any) -> Array:
        """The error that the tolerances allow in elements of these sizes, atol + rtol * size: (1, n).

        In the dtype of the sizes, but in that of the tolerances where each part has its own or the state is a
        number of shape (): torch promotes so.
        """
        if isinstance(rtol, (list, tuple)) or isinstance(atol, (list, tuple)):
            pieces = self.slices(size, xp=xp)
            rtols, atols = (x if isinstance(x, (list, tuple)) else [x] * len(pieces) for x in (rtol, atol))
            bounds = [a + r * xp.cast(piece, a) for piece, r, a in zip(pieces, rtols, atols, strict=True)]
            return bounds[0] if len(bounds) == 1 else xp.concat(bounds, axis=1)
        if self.scalar:
            return atol + rtol * xp.cast(size, atol)
        return xp.affine(xp.cast(atol, size), xp.cast(rtol, size), size)
