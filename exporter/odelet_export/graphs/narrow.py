"""Makes float32 of the float64 values of a graph that are float32 numbers in another type.

The law here: no number changes. A float64 value is made float32 where it comes from float32 numbers by operators that
move, choose or compare numbers and never round one; what rounds in float64 stays.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import bodies

# Operators whose results are numbers among their inputs, or such numbers with another sign.
_MOVES = {
    *("Abs", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Max", "Min", "Neg"),
    *("Pad", "ReduceMax", "ReduceMin", "Reshape", "Sign", "Slice", "Split", "Squeeze", "Tile", "TopK", "Transpose"),
    *("Unsqueeze", "Where"),
}
# Operators that read numbers, and whose results are of another type.
_READS = {
    *("Cast", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Shape", "Size"),
    *("ArgMax", "ArgMin", "NonZero"),
}
_DOUBLE, _FLOAT = ir.DataType.DOUBLE, ir.DataType.FLOAT
# The types all of whose numbers are float32 numbers, too.
_EXACT_TYPES = {np.dtype(name) for name in ("float32", "float16", "int16", "int8", "uint16", "uint8", "bool")}


def narrow(model: ir.Model, rounded: Collection[str] = ()) -> None:
    """Make float32 of float64 values, in place. rounded: names of inputs with defaults that become float32 as well:
    the graph would round them."""
    graph = model.graph
    exact = {value for value in graph.inputs if value.name in rounded and value.dtype == _DOUBLE}
    for node in graph.all_nodes():
        exact.update(_exact_results(node, exact))
    # A value that others need in float64 stays, and then what it is made from stays, too.
    kept = {value for node in graph.all_nodes() for body in bodies(node) for value in body.outputs}
    for node in reversed(list(graph.all_nodes())):
        if not _follows(node, exact - kept):
            kept.update(value for value in node.inputs if value in exact)
    exact -= kept
    for value in exact:
        value.type = ir.TensorType(_FLOAT)
        if value.const_value is not None:
            value.const_value = _in_float32(value)
    for node in list(graph.all_nodes()):
        _change(node, exact)
    for owner in [graph, *(body for node in graph.all_nodes() for body in bodies(node))]:
        unread = [name for name, x in owner.initializers.items() if _is_unread(x)]
        for name in unread:
            del owner.initializers[name]


def _is_unread(value: ir.Value) -> bool:
    return value.dtype == _DOUBLE and not value.uses() and not (value.is_graph_input() or value.is_graph_output())


def _exact_results(node: ir.Node, exact: Collection[ir.Value]) -> list[ir.Value]:
    """The float64 results of a node that are float32 numbers."""
    if node.op_type == "Cast":
        source = node.inputs[0]
        known = source is not None and source.dtype is not None and source.dtype.numpy() in _EXACT_TYPES
        return [node.outputs[0]] if known and node.outputs[0].dtype == _DOUBLE else []
    doubles = [value for value in node.inputs if value is not None and value.dtype == _DOUBLE]
    moved = node.op_type in _MOVES and doubles and all(x in exact or _exact_constant(x) for x in doubles)
    return [value for value in node.outputs if value.dtype == _DOUBLE] if moved else []


def _exact_constant(value: ir.Value) -> bool:
    """Whether a value is a constant whose numbers are float32 numbers."""
    if value.const_value is None or value.is_graph_input():
        return False
    array = value.const_value.numpy()
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array, array.astype(np.float32), equal_nan=True))


def _follows(node: ir.Node, exact: Collection[ir.Value]) -> bool:
    """Whether a node does the same where the exact values that it reads are float32."""
    if not any(value in exact for value in node.inputs):
        return True
    if node.op_type in _READS:
        return all(
            value is None or value.dtype != _DOUBLE or value in exact or _exact_constant(value) for value in node.inputs
        )
    return all(value in exact for value in node.outputs if value.dtype == _DOUBLE) and node.op_type in _MOVES


def _change(node: ir.Node, exact: Collection[ir.Value]) -> None:
    """Let a node read and make float32, where it did so in float64."""
    if node.op_type == "Cast" and node.outputs[0] in exact:
        node.attributes["to"] = ir.AttrInt64("to", _FLOAT.value)
    reads = any(value in exact for value in node.inputs)
    makes = any(value in exact for value in node.outputs)
    folds = node.op_type == "Cast" and node.outputs[0].dtype == _FLOAT
    for place, value in enumerate(node.inputs):
        if value is None or value.dtype != _DOUBLE or value.const_value is None or value.is_graph_input():
            continue
        if reads or makes or folds:
            node.replace_input_with(place, _stored(value))


def _stored(value: ir.Value) -> ir.Value:
    """The constant in float32, which the graph of the constant holds."""
    graph = value.graph
    assert graph is not None
    name = f"{value.name}.float32"
    if name not in graph.initializers:
        tensor = _in_float32(value, name)
        stored = ir.Value(name=name, type=ir.TensorType(_FLOAT), shape=value.shape, const_value=tensor)
        graph.register_initializer(stored)
    return graph.initializers[name]


def _in_float32(value: ir.Value, name: str | None = None) -> ir.TensorProtocol:
    """The numbers of a constant in float32. name: of the tensor, by default that of the value."""
    assert value.const_value is not None
    return ir.tensor(value.const_value.numpy().astype(np.float32), name=name or value.name)
