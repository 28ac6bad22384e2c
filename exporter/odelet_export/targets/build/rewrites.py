"""Rewrites of graphs before they are translated: nodes whose code is slow become others with the same results.

A product with a constant matrix that is stored by columns takes it stored by rows, so that its inner loop runs along
the results; a small whole power becomes products, as in torch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

# A product with fewer results in a row is faster as a sum along the constant's rows.
FEWEST_RESULTS = 8


def rewrite(model: onnx.ModelProto) -> None:
    """Rewrite the nodes of a graph, in place; those of subgraphs stay."""
    graph = model.graph
    given = {value.name for value in graph.input}
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in given}
    used = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Gemm" and node.domain == "":
            _store_by_rows(node, constants, graph, used)
        power = _small_power(node, constants)
        nodes += [node] if power is None else _products(node, power, used)
    del graph.node[:]
    graph.node.extend(nodes)


def _store_by_rows(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], graph: onnx.GraphProto, used: set[str]
) -> None:
    """Give a Gemm its constant factor as it reads it, if it transposes that factor."""
    transposed = next((one for one in node.attribute if one.name == "transB"), None)
    factor = constants.get(node.input[1])
    if transposed is None or not transposed.i or factor is None or factor.dims[0] < FEWEST_RESULTS:
        return
    name = f"{factor.name}.rows"
    if name not in constants:
        if name in used:
            return
        array = np.ascontiguousarray(numpy_helper.to_array(factor).T)
        constants[name] = numpy_helper.from_array(array, name)
        graph.initializer.append(constants[name])
        used.add(name)
    node.input[1] = name
    node.attribute.remove(transposed)


def _small_power(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> int | None:
    """The exponent of a node that is a power of 2 or 3; None for other nodes."""
    if node.op_type != "Pow" or node.domain != "" or node.input[1] not in constants:
        return None
    exponent = numpy_helper.to_array(constants[node.input[1]])
    # An exponent of more axes could add axes to the result.
    whole = exponent.ndim == 0 and exponent.item() in (2, 3)
    return int(exponent) if whole else None


def _products(node: onnx.NodeProto, power: int, used: set[str]) -> list[onnx.NodeProto]:
    """The products that are a power of the first input of a node."""
    x, result = node.input[0], node.output[0]
    square = result if power == 2 else f"{result}.square"
    if square in used and power != 2:
        return [node]
    made = [helper.make_node("Mul", [x, x], [square])]
    if power == 3:
        made.append(helper.make_node("Mul", [square, x], [result]))
    for one in made:
        one.metadata_props.extend(node.metadata_props)
    return made
