"""The layout of a model's state in the row (1, n) that solver text computes with, and the norm of such a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from math import prod
from typing import Any

from odelet.numerics.backend import Array, Backend, Scalar, Shape, StateBackend

# A Scalar, or a list or tuple of one Scalar for each part of the state.
Tolerance = Any


@dataclass(frozen=True)
class Layout:
    """The layout of the parts of a state in a row, and the norm that measures the row.

    shapes: the shape of each part. sizes: the number of elements of each part, as the backend's `split` takes them, or
    None when there is one part, which is the whole row. user_norm: the model's own norm, from the parts in the model's
    shapes to a scalar; None for the root mean square. scalar: whether the state is a single number of shape ().
    table_shapes: for a batch whose samples are solved each on its own, the shape (samples, width) of each part as a
    table; None where the state is solved as a whole. With table_shapes, times, step lengths and norms are rows of one
    number for each sample, (samples,).
    """

    shapes: Sequence[Shape]
    _: KW_ONLY
    sizes: Any | None = None
    user_norm: Callable[[list[Array]], Scalar] | None = None
    scalar: bool = False
    table_shapes: Sequence[Shape] | None = None

    @classmethod
    def of(
        cls,
        parts: Sequence[Array],
        *,
        user_norm: Callable[[list[Array]], Scalar] | None = None,
        per_sample: bool = False,
    ) -> Layout:
        """The layout of numpy arrays; per_sample: their first axis counts samples that are solved each on its own."""
        sizes = [part.size for part in parts] if len(parts) > 1 else None
        shapes = [part.shape for part in parts]
        tables = [(shape[0], prod(shape[1:])) for shape in shapes] if per_sample else None
        return cls(shapes, sizes=sizes, user_norm=user_norm, scalar=shapes == [()], table_shapes=tables)

    def pack(self, parts: Sequence[Array], *, xp: StateBackend) -> Array:
        """The row (1, n) of parts in the model's shapes."""
        rows = [xp.reshape(part, (1, -1)) for part in parts]
        return rows[0] if self.sizes is None else xp.concat(rows, axis=1)

    def slices(self, rows: Array, *, xp: StateBackend) -> Sequence[Array]:
        """The slice of rows (count, n) that belongs to each part, (count, size of the part)."""
        return [rows] if self.sizes is None else xp.split(rows, self.sizes)

    def unpack(self, row: Array, *, xp: StateBackend) -> list[Array]:
        """The parts of a row (1, n), in the model's shapes."""
        slices = self.slices(row, xp=xp)
        return [xp.reshape(part, shape) for part, shape in zip(slices, self.shapes, strict=True)]

    def tables(self, rows: Array, count: int, *, xp: StateBackend) -> list[Array]:
        """Rows (count, n) as a table (count, samples, width) for each part; a state solved as a whole is one sample."""
        shapes = self.table_shapes if self.table_shapes is not None else [(1, -1)] * len(self.shapes)
        slices = self.slices(rows, xp=xp)
        return [xp.reshape(part, xp.stacked_shape(count, shape)) for part, shape in zip(slices, shapes, strict=True)]

    def from_tables(self, tables: Sequence[Array], *, xp: StateBackend) -> Array:
        """The row (1, n) of one table (samples, width) for each part."""
        rows = [xp.reshape(table, (1, -1)) for table in tables]
        return rows[0] if len(rows) == 1 else xp.concat(rows, axis=1)

    def norm(self, row: Array, *, xp: StateBackend) -> Scalar:
        """The norm of a row (1, n).

        It is the root mean square over all elements; with several parts, the largest of their root mean squares, as in
        torchdiffeq; with a `user_norm`, the absolute value of the user's norm.
        """
        if self.user_norm is not None:
            return abs(self.user_norm(self.unpack(row, xp=xp)))
        slices = self.slices(row, xp=xp)
        if self.table_shapes is None:
            norms = [xp.rms(part) for part in slices]
        else:
            tables = [xp.reshape(part, shape) for part, shape in zip(slices, self.table_shapes, strict=True)]
            norms = [xp.rms(table, axis=1) for table in tables]
        largest = norms[0]
        for norm in norms[1:]:
            largest = xp.maximum(largest, norm)
        return largest

    def broadcast(self, x: Scalar, row: Array, *, xp: StateBackend) -> Array:
        """A number for each sample, (samples,), repeated over the elements of its state: a row (1, n), as `row` is.

        For a state solved as a whole it is x itself, which numpy and ONNX broadcast where it is used.
        """
        if self.table_shapes is None:
            return x
        column = xp.reshape(x, (-1, 1))
        slices = self.slices(row, xp=xp)
        tables = [xp.reshape(part, shape) for part, shape in zip(slices, self.table_shapes, strict=True)]
        rows = [xp.reshape(xp.expand(column, table), (1, -1)) for table in tables]
        return rows[0] if len(rows) == 1 else xp.concat(rows, axis=1)

    def select(self, condition: Scalar, new: Array, old: Array, *, xp: StateBackend) -> Array:
        """The row `new` where the condition, such as that a step is accepted, holds; else the row `old`."""
        return xp.where(self.broadcast(condition, new, xp=xp), new, old)

    def allowed_error(self, size: Array, *, rtol: Tolerance, atol: Tolerance, xp: Backend) -> Array:
        """The error that the tolerances allow in elements of these sizes, atol + rtol * size: (1, n).

        Its dtype is the dtype of the sizes. Where each part has its own tolerance, or the state is a number of shape
        (), it is the dtype of the tolerances, as torch promotes in these cases.
        """
        if isinstance(rtol, (list, tuple)) or isinstance(atol, (list, tuple)):
            slices = self.slices(size, xp=xp)
            rtols, atols = (x if isinstance(x, (list, tuple)) else [x] * len(slices) for x in (rtol, atol))
            bounds = [a + r * xp.cast(part, a) for part, r, a in zip(slices, rtols, atols, strict=True)]
            return bounds[0] if len(bounds) == 1 else xp.concat(bounds, axis=1)
        if self.scalar:
            return atol + rtol * xp.cast(size, atol)
        return xp.cast(atol, size) + xp.cast(rtol, size) * size
