"""The amount of arithmetic in the largest operation of some graphs, by which the runtime chooses its threads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import onnx_ir as ir

# The sizes of the axes of an operator's second input, its weights, over which each element of the output sums.
_SUMMED = {
    "Conv": lambda shape, node: shape[1:],
    "Gemm": lambda shape, node: [shape[1 if _attribute(node, "transB") else 0]],
    "MatMul": lambda shape, node: shape[-2:-1] or shape,
}


def largest_product(graphs: Iterable[ir.Model]) -> int:
    """The number of multiplications in the largest matrix product or convolution; a size that varies counts as 1."""
    return max((_products(node) for model in graphs for node in model.graph.all_nodes()), default=0)


def _products(node: ir.Node) -> int:
    if node.op_type not in _SUMMED or node.domain not in ("", "ai.onnx"):
        return 0
    weights, output = node.inputs[1], node.outputs[0]
    if weights is None or weights.shape is None or output.shape is None:
        return 0
    summed = _SUMMED[node.op_type](_sizes(weights.shape), node)
    return math.prod(_sizes(output.shape)) * math.prod(summed)


def _sizes(shape: ir.Shape) -> list[int]:
    return [size if isinstance(size, int) else 1 for size in shape]


def _attribute(node: ir.Node, name: str) -> Any:
    attribute = node.attributes.get(name)
    return attribute.value if attribute is not None else 0
