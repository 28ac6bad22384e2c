"""Stores the arrays that rewrites compute from the weights of a model, each once in a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir


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
