"""Matrix products in int8, whose other factor is quantised in each run, by its own range.

onnxruntime.quantization does the same for whole models. It takes the body of a loop for a model of its own, so that it
does not find a weight outside the body, and it would turn such a weight over in each step.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

# Values as whole numbers, with their scale and zero point, by the value and by the graph that has the nodes.
Quantized = dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ir.Value, ir.Value]]


def integer_product(node: ir.Node, weight: ir.Value, scale: ir.Value, known: Quantized) -> None:
    """Put a product in int8 in the place of a MatMul or a Gemm.

    weight: whole numbers; for a Gemm as a MatMul takes them. scale: that of each output. known: what is quantised
    already. The graph is not in order afterwards, where two products read one value.
    """
    graph, x = node.graph, node.inputs[0]
    assert isinstance(graph, ir.Graph) and x is not None
    nodes = [] if (x, graph) in known else _quantize(x, graph, known)
    numbers, scale_of_x, zero = known[x, graph]
    whole = ir.node("MatMulInteger", [numbers, weight, zero])
    cast = ir.node("Cast", [whole.outputs[0]], {"to": ir.DataType.FLOAT.value})
    scales = ir.node("Mul", [scale_of_x, scale])
    result = ir.node("Mul", [cast.outputs[0], scales.outputs[0]])
    nodes += [whole, cast, scales, result]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        result = ir.node("Add", [result.outputs[0], bias])
        nodes.append(result)
    made = node.outputs[0]
    for number, one in enumerate(nodes):
        for place, output in enumerate(one.outputs):
            if not output.name:
                output.name = f"{made.name}.int8.{number}.{place}"
    result.outputs[0].type, result.outputs[0].shape = made.type, made.shape
    graph.insert_before(node, nodes)
    name = made.name
    convenience.replace_all_uses_with(made, result.outputs[0], replace_graph_outputs=True)
    made.name, result.outputs[0].name = f"{name}.float", name
    graph.remove(node, safe=True)


def _quantize(x: ir.Value, graph: ir.Graph, known: Quantized) -> list[ir.Node]:
    """The nodes that quantise a value by its range in this run.

    The operator takes NaN for a number. A scale that is NaN where the value holds one makes the product NaN, too.
    """
    node = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
    for output, kind in zip(node.outputs, (ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8), strict=True):
        output.type = ir.TensorType(kind)
    total = ir.node("ReduceSum", [x], {"keepdims": 0})
    zero = ir.node("Constant", [], {"value": ir.tensor(np.zeros((), np.float32))})
    nothing = ir.node("Mul", [total.outputs[0], zero.outputs[0]])
    scale = ir.node("Add", [node.outputs[1], nothing.outputs[0]])
    known[x, graph] = (node.outputs[0], scale.outputs[0], node.outputs[2])
    return [node, total, zero, nothing, scale]
