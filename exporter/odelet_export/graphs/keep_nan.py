"""Keeps NaN where ONNX Runtime's kernels lose it: recurrent layers, maxima, minima, and functions that compare.

A NaN in the input of torch's operator is in its result, so that nobody takes the result for an answer. ONNX Runtime's
kernels of these operators leave NaN out, and give the numbers of the other elements. The operator stays, and its
result becomes NaN by a look at the input.
"""

from __future__ import annotations

import math

import onnx_ir as ir
from onnx_ir import convenience

from odelet_export.graphs.tables import INT64, Added, Tables

_FLOATS = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
_RECURRENT = ("GRU", "LSTM", "RNN")
# These take the NaN of a window or of a row; the others that of an element.
_OF_WINDOWS = ("ReduceMax", "ReduceMin", "MaxPool", "GlobalMaxPool")
_OF_ELEMENTS = ("ThresholdedRelu", "Shrink")


def keep_nan(node: ir.Node, tables: Tables) -> None:
    """Let the results of a node be NaN where those of torch's operator are, if it is one of the operators above."""
    given = node.inputs[0] if node.inputs else None
    if node.domain or given is None or given.dtype not in _FLOATS:
        return
    if node.op_type in _OF_ELEMENTS:
        add = Added(node)
        _become_nan(node.outputs[0], add("IsNaN", [given], ir.DataType.BOOL, given), tables)
    elif node.op_type in _OF_WINDOWS:
        _keep_in_windows(node, given, tables)
    elif node.op_type in _RECURRENT:
        _keep_in_series(node, given, tables)


def _keep_in_windows(node: ir.Node, given: ir.Value, tables: Tables) -> None:
    """The largest flag of a window says whether it holds NaN."""
    add = Added(node)
    flags = _flags(add, given)
    assert node.graph is not None and given.dtype is not None
    kind = "ReduceMax" if node.op_type == "ReduceMin" else node.op_type
    largest = ir.Node("", kind, [flags, *node.inputs[1:]], list(node.attributes.values()))
    largest.outputs[0].name = f"{node.outputs[0].name}.guard"
    largest.outputs[0].type, largest.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
    node.graph.insert_before(node, largest)
    found = add("Greater", [largest.outputs[0], tables.stored(0, given.dtype)], ir.DataType.BOOL, node.outputs[0])
    _become_nan(node.outputs[0], found, tables)


def _keep_in_series(node: ir.Node, given: ir.Value, tables: Tables) -> None:
    """All states of a row that follow a NaN in its series are NaN, in the direction in which a layer reads; and so are
    all its states if the first is. Steps beyond the length of a row do not count."""
    add, of = Added(node), given.dtype
    assert of is not None
    flags = add("ReduceMax", [_flags(add, given), tables.stored([2], INT64)], of, None, keepdims=0)  # (times, rows)
    lengths = node.inputs[4] if len(node.inputs) > 4 else None
    inside = None
    if lengths is not None:
        inside = _inside(add, given, lengths, tables)
        flags = add("Where", [inside, flags, tables.stored(0, of)], of, None)
    direction = node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"
    ways = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}[direction]
    axis, second = tables.stored(0, INT64), tables.stored([1], INT64)
    seen = [add("Unsqueeze", [add("CumSum", [flags, axis], of, None, reverse=way), second], of, None) for way in ways]
    so_far = seen[0] if len(seen) == 1 else add("Concat", seen, of, None, axis=1)  # (times, directions, rows)
    total = add("ReduceSum", [flags, tables.stored([0], INT64)], of, None, keepdims=1)  # (1, rows)
    for state in (value for value in node.inputs[5:7] if value is not None):
        first = add(
            "ReduceMax", [_flags(add, state), tables.stored([2], INT64)], of, None, keepdims=0
        )  # (directions, rows)
        so_far, total = add("Add", [so_far, first], of, None), add("Add", [total, first], of, None)
    if inside is not None:
        so_far = add("Where", [add("Unsqueeze", [inside, second], None, None), so_far, tables.stored(0, of)], of, None)
    last = tables.stored([-1], INT64)
    for output, counts in zip(node.outputs, (so_far, total, total), strict=False):
        found = add("Greater", [counts, tables.stored(0, of)], ir.DataType.BOOL, None)
        _become_nan(output, add("Unsqueeze", [found, last], ir.DataType.BOOL, None), tables)


def _flags(add: Added, x: ir.Value) -> ir.Value:
    """1 where a value is NaN, and 0 elsewhere, in its own type."""
    assert x.dtype is not None
    return add("Cast", [add("IsNaN", [x], ir.DataType.BOOL, x)], x.dtype, x, to=x.dtype)


def _inside(add: Added, given: ir.Value, lengths: ir.Value, tables: Tables) -> ir.Value:
    """Whether a step is within the length of its row, (times, rows)."""
    count = add("Squeeze", [add("Shape", [given], INT64, None, start=0, end=1)], INT64, None)
    steps = add("Range", [tables.stored(0, INT64), count, tables.stored(1, INT64)], INT64, None)
    column = add("Unsqueeze", [steps, tables.stored([1], INT64)], INT64, None)
    return add("Less", [column, add("Cast", [lengths], INT64, lengths, to=INT64)], ir.DataType.BOOL, None)


def _become_nan(result: ir.Value, where: ir.Value, tables: Tables) -> None:
    """Put NaN into a result, for all who read it. where: broadcasts to the result."""
    node = result.producer()
    assert node is not None and node.graph is not None and result.dtype is not None
    if not result.uses() and not result.is_graph_output():
        return
    kept = ir.Node("", "Where", [where, tables.stored(math.nan, result.dtype), result])
    value = kept.outputs[0]
    value.type, value.shape = result.type, result.shape
    name = result.name
    convenience.replace_all_uses_with(result, value, replace_graph_outputs=True)
    kept.replace_input_with(2, result)
    value.name, result.name = name, f"{name}.as_computed"
    node.graph.insert_after(node, kept)
