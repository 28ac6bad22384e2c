"""The constants of rewrites: numbers, and arrays that are computed from weights, each stored once in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir


def constant(op: Any, array: np.ndarray) -> ir.Value:
    """An array as a value."""
    made: ir.Value = op.Constant(value=ir.tensor(np.ascontiguousarray(array)))
    return made


def number(op: Any, like: ir.Value, value: float) -> ir.Value:
    """A number in the dtype of a value."""
    assert like.dtype is not None
    return constant(op, np.array(value, like.dtype.numpy()))


def stored(op: Any, made: ir.Value, weight: ir.Value, array: np.ndarray, part: str) -> ir.Value:
    """A stored array, computed from a weight.

    made: the value that is replaced, in the graph that is to have the array. part: says what was computed, so that
    where a weight is read twice, the array is stored once.
    """
    graph = made.graph
    assert graph is not None
    name = f"odelet.{weight.name}.{part}"
    if name in graph.initializers:
        return graph.initializers[name]
    new: ir.Value = op.initializer(ir.tensor(np.ascontiguousarray(array)), name=name)
    return new
