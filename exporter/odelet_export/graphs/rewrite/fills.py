"""Finds values that are one number, repeated along axes, such as the time that a model joins to its channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.rewrite.shapes import dims_of
from odelet_export.graphs.rewrite.stored import constant

# Makes the value that is repeated, by the nodes that are needed. Nodes are made by nothing else, because a node that
# stays unused would still count among the uses of what it reads.
Fill = Callable[[Any], ir.Value]

_OF_TWO = ("Add", "Sub", "Mul", "Div")
_OF_ONE = ("Cast", "Neg", "Sin", "Cos", "Exp", "Sqrt", "Tanh", "Sigmoid")


def fill_of(value: ir.Value, axes: int) -> Fill | None:
    """What a value is filled with: a value that is equal to it by broadcasting, and of size 1 along its last axes.

    axes: how many of the last axes. Returns None where nothing of this kind is known.
    """
    dims = dims_of(value)
    if dims is None:
        return None
    array = constant_of(value)
    if array is not None:
        return _of_constant(array, min(axes, array.ndim))
    if all(dim == 1 for dim in dims[max(len(dims) - axes, 0) :]):
        return lambda op: value
    node = value.producer()
    if node is None or node.domain:
        return None
    first = node.inputs[0] if node.inputs else None
    if first is None:
        return None
    if node.op_type == "Expand":
        return fill_of(first, axes)
    if node.op_type in _OF_ONE:
        inner = fill_of(first, axes)
        return None if inner is None else _one(node, inner)
    if node.op_type in _OF_TWO:
        second = node.inputs[1]
        pair = fill_of(first, axes), None if second is None else fill_of(second, axes)
        if pair[0] is None or pair[1] is None:
            return None
        if node.op_type == "Mul" and _is_one(first):
            return pair[1]
        return _two(node, pair[0], pair[1])
    if node.op_type == "ConstantOfShape":
        stored = node.attributes.get("value")
        number = np.zeros((), np.float32) if stored is None else stored.as_tensor().numpy().reshape(())
        return lambda op: constant(op, number)
    return None


def _of_constant(array: np.ndarray, axes: int) -> Fill | None:
    kept = array.shape[: array.ndim - axes]
    rows = array.reshape((*kept, -1))
    if rows.size == 0 or not (rows == rows[..., :1]).all():
        return None
    number = rows[..., :1].reshape((*kept, *[1] * axes))
    return lambda op: constant(op, number)


def _is_one(value: ir.Value) -> bool:
    """Whether a value is filled with the constant 1, and may be left out of a product."""
    node = value.producer()
    if node is not None and node.op_type == "Expand" and node.inputs[0] is not None:
        return _is_one(node.inputs[0])
    array = constant_of(value)
    return array is not None and bool((array == 1).all())


def _one(node: ir.Node, inner: Fill) -> Fill:
    return lambda op: op.op(node.op_type, inner(op), **node.attributes)


def _two(node: ir.Node, first: Fill, second: Fill) -> Fill:
    return lambda op: op.op(node.op_type, first(op), second(op))
