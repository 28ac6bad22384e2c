"""What is known of the shapes of a graph's values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir


def dims_of(value: ir.Value) -> Sequence[int | None] | None:
    """The sizes of a value's axes, with None for a size that is not known; None where not even their number is."""
    if value.shape is None:
        return None
    return [dim if isinstance(dim, int) else None for dim in value.shape]


def row_elements(value: ir.Value) -> int:
    """How many elements a value has, where each axis of unknown size counts as 1; 0 if nothing is known."""
    dims = dims_of(value)
    return 0 if dims is None else math.prod(1 if dim is None else dim for dim in dims)
