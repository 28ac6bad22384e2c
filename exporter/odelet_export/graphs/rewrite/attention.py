"""The scores of an attention, with the keys transposed as they are.

torch's translation of scaled_dot_product_attention reshapes the keys to three axes, transposes them, reshapes them
back, and scales queries and keys. ONNX Runtime fuses a Transpose of the last two axes and one scale into the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.shapes import dims_of
from odelet_export.graphs.rewrite.stored import number


def _pattern(op: Any, query: Any, key: Any, rows: Any, back: Any, scale: Any) -> Any:
    keys = op.Reshape(op.Transpose(op.Reshape(key, rows), perm=[0, 2, 1]), back)
    return op.MatMul(op.Mul(query, scale), op.Mul(keys, scale))


def _transposes(context: object, key: ir.Value, rows: ir.Value, back: ir.Value, scale: ir.Value, **_: object) -> bool:
    """Whether the three nodes transpose the last two axes, and the scale is one number."""
    dims, factor = dims_of(key), constant_of(scale)
    if dims is None or len(dims) < 3 or factor is None or factor.size != 1:
        return False
    last, before = len(dims) - 1, len(dims) - 2
    inner, outer = _sizes(rows, key), _sizes(back, key)
    if inner is None or outer is None or len(inner) != 3 or len(outer) != len(dims):
        return False
    swapped = [*range(before), last, before]
    return _same(inner[1:], [before, last], dims) and _same(outer, swapped, dims)


# A size of a shape: a number, or, with its axis, a size of the keys.
_Size = int | tuple[int]


def _sizes(shape: ir.Value, key: ir.Value) -> list[_Size] | None:
    """The sizes of a shape: numbers where it is constant, and axes where it was read from the keys."""
    stored, node, dims = constant_of(shape), shape.producer(), dims_of(key)
    if stored is not None:
        return [int(size) for size in stored.reshape(-1)]
    if node is None or node.domain or dims is None:
        return None
    if node.op_type == "Concat":
        parts = [None if part is None else _sizes(part, key) for part in node.inputs]
        return None if any(part is None for part in parts) else [size for part in parts for size in part or ()]
    if node.op_type == "Shape" and node.inputs[0] is key and not {"end"} & set(node.attributes):
        start = node.attributes["start"].as_int() if "start" in node.attributes else 0
        return [(axis,) for axis in range(len(dims))[start:]]
    if node.op_type == "Slice" and len(node.inputs) in (3, 4) and node.inputs[0] is not None:
        bounds = [None if value is None else constant_of(value) for value in node.inputs[1:3]]
        inner = _sizes(node.inputs[0], key)
        if inner is None or any(bound is None or bound.size != 1 for bound in bounds):
            return None
        start, end = (int(bound.reshape(())) for bound in bounds if bound is not None)
        return inner[start:end]
    return None


def _same(sizes: Sequence[_Size], axes: Sequence[int], dims: Sequence[int | None]) -> bool:
    """Whether sizes are those of axes of the keys; one number may be left to be found (-1)."""
    wrong = [size for size, axis in zip(sizes, axes, strict=True) if size not in ((axis,), dims[axis])]
    return not wrong or wrong == [-1]


def _replace(op: Any, query: ir.Value, key: ir.Value, scale: ir.Value, **_: object) -> Any:
    dims, factor = dims_of(key), constant_of(scale)
    assert dims is not None and factor is not None
    order = [*range(len(dims) - 2), len(dims) - 1, len(dims) - 2]
    once = number(op, query, float(np.square(factor.astype(np.float64)).reshape(())))
    return op.MatMul(op.Mul(query, once), op.Transpose(key, perm=order))


ATTENTION = Rewrite(
    name="scores of an attention",
    about="the keys are transposed by one node, which ONNX Runtime fuses into the product with the scale",
    pattern=_pattern,
    check=_transposes,
    replace=_replace,
)
