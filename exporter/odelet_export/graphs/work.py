"""The amount of arithmetic in the largest operations of some graphs, by which the runtime chooses its threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeAlias

import onnx_ir as ir

Sizes: TypeAlias = list[int | str]

# The sizes of the axes of an operator's second input, its weights, over which each element of the output sums.
_SUMMED: dict[str, Callable[[Sizes, ir.Node], Sizes]] = {
    "Conv": lambda shape, node: shape[1:],
    "Gemm": lambda shape, node: [shape[1 if _attribute(node, "transB") else 0]],
    "MatMul": lambda shape, node: shape[-2:-1] or shape,
}


def largest_product(graphs: Iterable[ir.Model]) -> int:
    """The number of multiplications in the largest matrix product or convolution; a size that varies counts as 1."""
    return max((_fixed(sizes) for sizes in _products(graphs)), default=0)


def largest_by_axes(graphs: Iterable[ir.Model], axes: Collection[str]) -> dict[tuple[str, ...], int]:
    """The same by the names of the axes that the work is in proportion to, each as often as it is. axes: those of the
    model's inputs; other sizes that vary count as 1, and what depends on none of these axes is left out."""
    largest: dict[tuple[str, ...], int] = {}
    for sizes in _products(graphs):
        free = tuple(sorted(size for size in sizes if size in axes and isinstance(size, str)))
        work = _fixed(sizes)
        if free and work:
            largest[free] = max(largest.get(free, 0), work)
    return largest


def _fixed(sizes: Sizes) -> int:
    return math.prod(size for size in sizes if isinstance(size, int))


def _products(graphs: Iterable[ir.Model]) -> Iterator[Sizes]:
    """For each product and convolution the sizes whose product is the number of its multiplications."""
    for node in (node for model in graphs for node in model.graph.all_nodes()):
        if node.op_type not in _SUMMED or node.domain not in ("", "ai.onnx"):
            continue
        weights, output = node.inputs[1], node.outputs[0]
        if weights is not None and weights.shape is not None and output.shape is not None:
            yield [*_sizes(output.shape), *_SUMMED[node.op_type](_sizes(weights.shape), node)]


def _sizes(shape: ir.Shape) -> Sizes:
    return [size if isinstance(size, int) else str(size.value) for size in shape]


def _attribute(node: ir.Node, name: str) -> Any:
    attribute = node.attributes.get(name)
    return attribute.value if attribute is not None else 0
