"""Half precision in a graph: operators on float16 and bfloat16 compute in float32, between casts.

The law here: numbers are rounded after each operator, as in torch, and nowhere else. ONNX Runtime's CPU has hardly a
kernel for bfloat16. For float16 it would insert such casts itself and drop those between two operators, so that fewer
numbers would be rounded than in torch. Weights become float32, which holds them exactly. Where one operator of torch
is several of ONNX, each of them rounds.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

from odelet_intercept.errors import CaptureError

FLOAT, BFLOAT16 = ir.DataType.FLOAT, ir.DataType.BFLOAT16
HALVES = (ir.DataType.FLOAT16, BFLOAT16)
# These operators have kernels for every type and round nothing, or neither take nor return half-precision numbers.
_UNCHANGED = ("Cast", "Identity", "Shape", "Size", "Constant", "ConstantOfShape", "Loop", "If", "Scan")


def widen(model: ir.Model) -> None:
    """Let operators on float16 and bfloat16 compute in float32, with casts around each.

    Raises CaptureError for a bfloat16 input or output of the model, and for an operator that makes half-precision
    numbers from inputs that are none.
    """
    graph = model.graph
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            if value.dtype is BFLOAT16:
                raise CaptureError(
                    f"the {kind} {value.name!r} is bfloat16, which numpy does not have; cast it to float32 in the "
                    "model, with .float()"
                )
    stored: dict[ir.Value, ir.Value] = {}
    for node in list(graph.all_nodes()):
        takes = [place for place, value in enumerate(node.inputs) if value is not None and value.dtype in HALVES]
        gives = [value for value in node.outputs if value.dtype in HALVES]
        if node.op_type in _UNCHANGED or not (takes or gives):
            continue
        if not takes:
            raise CaptureError(
                f"a {node.op_type} that makes {str(gives[0].dtype).lower()} numbers cannot be exported, as ONNX "
                "Runtime's CPU has no kernel for it; make them in float32 and cast them"
            )
        _compute_in_float32(node, takes, gives, stored)


def _compute_in_float32(
    node: ir.Node, takes: list[int], gives: list[ir.Value], stored: dict[ir.Value, ir.Value]
) -> None:
    """Put casts around a node. takes: the positions of its half-precision inputs. gives: its half-precision outputs.
    stored: the float32 copies of constants that earlier nodes read, to which the copies of this node's constants are
    added."""
    assert node.graph is not None
    for place in takes:
        value = node.inputs[place]
        assert value is not None
        constant = value.const_value is not None and value.is_initializer() and not value.is_graph_input()
        if constant:
            stored[value] = stored[value] if value in stored else _as_float32(value)
            node.replace_input_with(place, stored[value])
            continue
        cast = _cast(value, FLOAT)
        node.graph.insert_before(node, cast)
        node.replace_input_with(place, cast.outputs[0])
    for value in gives:
        assert value.dtype is not None
        cast = _cast(value, value.dtype)
        rounded = cast.outputs[0]
        if value.is_graph_output():
            rounded.name, value.name = value.name, f"{value.name}.float32"
        value.type = ir.TensorType(FLOAT)
        convenience.replace_all_uses_with(value, rounded, replace_graph_outputs=True)
        cast.replace_input_with(0, value)
        node.graph.insert_after(node, cast)


def _as_float32(value: ir.Value) -> ir.Value:
    assert value.const_value is not None and value.graph is not None
    name = f"{value.name}.float32"
    array = value.const_value.numpy().astype(np.float32)
    copy = ir.Value(name=name, type=ir.TensorType(FLOAT), shape=value.shape, const_value=ir.tensor(array, name=name))
    value.graph.register_initializer(copy)
    return copy


def _cast(value: ir.Value, to: ir.DataType) -> ir.Node:
    cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(to))])
    cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(to), value.shape
    return cast
