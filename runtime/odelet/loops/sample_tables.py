"""The states of a batch as a table, one sample a row, and as the row (1, n) that the field takes."""

from __future__ import annotations

import numpy as np

from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.state import Layout


def table_of(row: NumpyArray, layout: Layout) -> NumpyArray:
    """A row (1, n) as a table (samples, width), with all parts of a sample's state side by side."""
    assert layout.table_shapes is not None
    parts = layout.slices(row, xp=NUMPY)
    return np.concatenate([np.reshape(p, shape) for p, shape in zip(parts, layout.table_shapes, strict=True)], axis=1)


def row_of(table: NumpyArray, layout: Layout) -> NumpyArray:
    """A table (samples, width) as a row (1, n)."""
    assert layout.table_shapes is not None
    cuts = np.cumsum([shape[1] for shape in layout.table_shapes])[:-1]
    return np.concatenate([part.reshape(1, -1) for part in np.split(table, cuts, axis=1)], axis=1)
