"""Stores the weights of finished graphs in fewer bits. The graphs get the weights back by nodes that run once.

The law here: a weight is what a product or a table reads, of at least two axes and FEWEST numbers. All else stays as
it is: times, tolerances, states, and the solver's own constants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

from odelet.artifact.weights import FLOAT16, INT8_PRODUCTS, STORED
from odelet_export.graphs.integer_products import Quantized, integer_product

# Smaller weights stay: their bytes do not count, and a node for each would take as many.
FEWEST = 1024
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
# The inputs of operators that are weights.
_WEIGHTS = {
    **{name: (0, 1) for name in ("MatMul", "Gemm", "Einsum")},
    **{name: (1,) for name in ("Conv", "ConvTranspose")},
    **{name: (1, 2) for name in ("LSTM", "GRU")},
    "Gather": (0,),
}
# Operators that only give numbers another place.
_MOVES = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
# The axis of a weight along which its outputs lie; int8 has a scale for each of them.
_OUTPUT_AXES: Mapping[str, Callable[[ir.Node, int], int]] = {
    "MatMul": lambda node, axes: axes - 1,
    "Gemm": lambda node, axes: 0 if _is_set(node, "transB") else 1,
    "ConvTranspose": lambda node, axes: 1,
}


@dataclass(frozen=True)
class Reduction:
    """What was done to the weights of a model. weights: how many are stored in fewer bits. products: how many products
    compute in int8. before, after: the bytes of these weights."""

    weights: int
    products: int
    before: int
    after: int


def store_weights(graphs: Mapping[str, ir.Model], kind: str) -> Reduction:
    """Store the weights of finished graphs in fewer bits, in place. kind: one of STORED.

    Equal weights of several graphs are the same afterwards, too, and count once. A weight that float16 cannot hold,
    being too large or not finite, stays as it is.
    """
    assert kind in STORED, kind
    sizes: dict[bytes, tuple[int, int]] = {}
    products = 0
    for model in graphs.values():
        known: Quantized = {}
        for value in list(model.graph.initializers.values()):
            array = _weight(value)
            if array is None or not _can_be(array, kind):
                continue
            made = stored = 0
            if kind == INT8_PRODUCTS:
                made, stored = _in_products(model.graph, value, array, known)
                products += made
            if value.uses():
                stored += _store(model.graph, value, array, kind)
            else:
                del model.graph.initializers[str(value.name)]
            digest = hashlib.sha256(repr((array.dtype, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
            sizes[digest.digest()] = (array.nbytes, stored)
        if products:
            model.graph.sort()
    before, after = (sum(pair[place] for pair in sizes.values()) for place in (0, 1))
    return Reduction(len(sizes), products, before, after)


def _can_be(array: np.ndarray, kind: str) -> bool:
    """Whether numbers can be stored so."""
    if not np.isfinite(array).all():
        return False
    return kind != FLOAT16 or bool(np.abs(array).max() <= np.finfo(np.float16).max)


def _weight(value: ir.Value) -> np.ndarray | None:
    """The numbers of an initializer that is a weight; else None."""
    tensor = value.const_value
    if tensor is None or value.is_graph_input() or value.is_graph_output() or tensor.dtype not in _FLOATS:
        return None
    large = len(tensor.shape) >= 2 and tensor.size >= FEWEST
    return tensor.numpy() if large and value.uses() and _feeds_products(value) else None


def _feeds_products(value: ir.Value) -> bool:
    """Whether all that reads a value is a product or a table, directly or in another order of the numbers."""
    for node, place in value.uses():
        if node.op_type in _MOVES and place == 0 and not node.outputs[0].is_graph_output():
            if not _feeds_products(node.outputs[0]):
                return False
        elif place not in _WEIGHTS.get(node.op_type, ()):
            return False
    return True


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    yield from ((use.node, use.idx) for use in value.uses())


def _store(graph: ir.Graph, value: ir.Value, array: np.ndarray, kind: str) -> int:
    """Store one weight; the graph computes what its readers get. Returns the bytes that are stored."""
    name, dtype = str(value.name), value.dtype
    assert dtype is not None
    del graph.initializers[name]
    if kind == FLOAT16:
        stored, scale = array.astype(np.float16), None
    else:
        stored, scale = quantized(array, _output_axis(value, array.ndim), largest=127)
    size = stored.nbytes
    cast = ir.node("Cast", [_initializer(graph, f"{name}.{stored.dtype}", stored)], {"to": dtype.value})
    nodes = [cast]
    if scale is not None:
        scale = scale.astype(array.dtype)
        size += scale.nbytes
        nodes.append(ir.node("Mul", [cast.outputs[0], _initializer(graph, f"{name}.scale", scale)]))
    for number, node in enumerate(nodes):
        node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
        node.outputs[0].name = name if node is nodes[-1] else f"{name}.{number}"
    convenience.replace_all_uses_with(value, nodes[-1].outputs[0])
    graph.insert_before(graph[0], nodes)
    return size


def _in_products(graph: ir.Graph, value: ir.Value, array: np.ndarray, known: Quantized) -> tuple[int, int]:
    """Let the products with a weight compute in int8, where they can. Returns their number, and the bytes stored."""
    stored: dict[tuple[str, bool], tuple[ir.Value, ir.Value]] = {}
    made = size = 0
    for node, place in list(_readers(value)):
        turned = node.op_type == "Gemm" and _is_set(node, "transB")
        if array.dtype != np.float32 or not _can_be_integer(node, place, array.ndim):
            continue
        if (node.op_type, turned) not in stored:
            # With 7 bits no sum of two products of bytes leaves the 16 bits in which processors without VNNI add them.
            numbers, scale = quantized(array.T if turned else array, 1, largest=63)
            name = f"{value.name}.{'turned.' if turned else ''}{node.op_type}"
            stored[node.op_type, turned] = (
                _initializer(graph, f"{name}.int8", numbers),
                _initializer(graph, f"{name}.scale", scale.reshape(-1)),
            )
            size += numbers.nbytes + scale.nbytes
        integer_product(node, *stored[node.op_type, turned], known)
        made += 1
    return made, size


def _can_be_integer(node: ir.Node, place: int, axes: int) -> bool:
    """Whether a product with a weight of so many axes at this place is computed in int8. Convolutions are not: with
    ConvInteger those of a U-Net took 3 to 4 times as long in ONNX Runtime 1.32."""
    if place != 1:
        return False
    plain = all(name not in node.attributes or node.attributes[name].as_float() == 1.0 for name in ("alpha", "beta"))
    return axes == 2 and (
        node.op_type == "MatMul" or (node.op_type == "Gemm" and plain and not _is_set(node, "transA"))
    )


def quantized(array: np.ndarray, axis: int, *, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """An array as whole numbers from -largest to largest, and the scale (with axes of 1) of each place along an axis;
    their product is the array up to half a scale."""
    others = tuple(place for place in range(array.ndim) if place != axis % array.ndim)
    scale = np.abs(array).max(axis=others, keepdims=True) / largest
    scale = np.where(scale > 0, scale, 1).astype(array.dtype)
    return np.ascontiguousarray(np.rint(array / scale).clip(-largest, largest).astype(np.int8)), scale


def _output_axis(value: ir.Value, axes: int) -> int:
    node, place = next(_readers(value))
    of = _OUTPUT_AXES.get(node.op_type)
    return of(node, axes) if of is not None and place == 1 else 0


def _is_set(node: ir.Node, name: str) -> bool:
    return name in node.attributes and node.attributes[name].as_int() == 1


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    while name in graph.initializers:
        name = f"{name}.stored"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value
