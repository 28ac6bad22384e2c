"""A number for each channel that scales, and one that shifts, as one operator in place of two.

They end the group normalization of torch's translation, and ONNX Runtime applies them in two passes, of which the first
takes the channels one by one. Its BatchNormalization makes one pass, also for images of few pixels. The mean is 0 and
the root of the variance 1 here, so that only the scale and the shift stay.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.rewrite.activations import FLOATS
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.shapes import dims_of
from odelet_export.graphs.rewrite.stored import stored

# A power of 2, so that the variance 1 - EPSILON plus EPSILON is 1 exactly. cuDNN may refuse numbers below 1e-5.
EPSILON = 2.0**-16


def _has_channels(context: object, x: ir.Value, made: ir.Value, scale: ir.Value, shift: ir.Value) -> bool:
    """Whether x holds images of more than one pixel, with a finite number for each channel to scale and to shift."""
    dims = dims_of(made)
    if dims is None or len(dims) < 3 or x.dtype not in FLOATS or None in dims[1:] or _row_size(x) != _row_size(made):
        return False
    channels, *pixels = (dim for dim in dims[1:] if dim is not None)
    per_channel = (channels, *[1] * len(pixels))
    arrays = [constant_of(value) for value in (scale, shift)]
    return math.prod(pixels) > 1 and all(
        array is not None and array.shape in (per_channel, (1, *per_channel)) and bool(np.isfinite(array).all())
        for array in arrays
    )


def _row_size(x: ir.Value) -> int | None:
    """How many elements a batch row has, also where x is an array of known sizes in another shape."""
    node, dims = x.producer(), dims_of(x)
    if dims is not None and None in dims[1:] and node is not None and node.op_type == "Reshape" and node.inputs[0]:
        dims = dims_of(node.inputs[0])
    sizes = [None] if dims is None else dims[1:]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _replace(op: Any, x: ir.Value, made: ir.Value, scale: ir.Value, shift: ir.Value) -> Any:
    numbers = {"scale": constant_of(scale), "shift": constant_of(shift)}
    assert numbers["scale"] is not None
    nothing = np.zeros_like(numbers["scale"])
    numbers |= {"mean": nothing, "variance": nothing + (1 - EPSILON)}
    rows = []
    for part, array in numbers.items():
        assert array is not None
        weight = shift if part == "shift" else scale
        rows.append(stored(op, made, weight, array.reshape(-1), f"channels.{part}"))
    return op.BatchNormalization(x, *rows, epsilon=EPSILON)


CHANNELS = Rewrite(
    name="scale and shift of channels",
    about="the scale and shift of channels, as of a GroupNorm, in one pass",
    pattern=lambda op, x, scale, shift: op.Add(op.Mul(x, scale), shift, _outputs=["made"]),
    check=_has_channels,
    replace=_replace,
)
