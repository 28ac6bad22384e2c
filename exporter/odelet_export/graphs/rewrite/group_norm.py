"""The scale and shift of a group normalization of small images, as rows that vectors fill.

torch's translation scales an array (batch, channels, height, width) by one number for each channel. ONNX Runtime does
that channel by channel, which is slow where a channel is a few pixels. The same numbers, repeated for each pixel, scale
the array (batch, groups, rest) from which the normalization comes, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.shapes import dims_of
from odelet_export.graphs.rewrite.stored import stored

# Channels of more pixels fill the vectors by themselves.
MOST_PIXELS = 64


def _pattern(op: Any, normal: Any, shape: Any, scale: Any, shift: Any) -> Any:
    return op.Add(op.Mul(op.Reshape(normal, shape), scale), shift, _outputs=["made"])


def _small(context: object, normal: ir.Value, made: ir.Value, scale: ir.Value, shift: ir.Value, **_: object) -> bool:
    """Whether a normalization of groups is reshaped to a small image, with a number for each channel."""
    node, dims, rows = normal.producer(), dims_of(made), dims_of(normal)
    if node is None or node.op_type != "InstanceNormalization" or dims is None or rows is None or len(rows) != 3:
        return False
    if len(dims) < 3 or any(dim is None for dim in [*dims[1:], *rows[1:]]):
        return False
    channels, pixels = dims[1], _pixels(dims)
    if channels is None or not 1 < pixels <= MOST_PIXELS or channels * pixels != math.prod(filter(None, rows[1:])):
        return False
    per_channel = (channels, *[1] * (len(dims) - 2))
    arrays = [constant_of(value) for value in (scale, shift)]
    return all(array is not None and array.shape in (per_channel, (1, *per_channel)) for array in arrays)


def _replace(op: Any, normal: ir.Value, made: ir.Value, shape: ir.Value, scale: ir.Value, shift: ir.Value) -> Any:
    dims, rows = dims_of(made), dims_of(normal)
    assert dims is not None and rows is not None and rows[1] is not None
    by_row = []
    for value in (scale, shift):
        array = constant_of(value)
        assert array is not None
        numbers = np.repeat(array.reshape(-1), _pixels(dims)).reshape(rows[1], -1)
        by_row.append(stored(op, made, value, numbers, f"rows.{rows[1]}.{_pixels(dims)}"))
    return op.Reshape(op.Add(op.Mul(normal, by_row[0]), by_row[1]), shape)


def _pixels(dims: Sequence[int | None]) -> int:
    return math.prod(dim for dim in dims[2:] if dim is not None)


GROUP_NORM = Rewrite(
    name="scale and shift of a group normalization",
    about="the scale and shift of small images by row, and not by channel, so that a row fills the vectors",
    pattern=_pattern,
    check=_small,
    replace=_replace,
)
