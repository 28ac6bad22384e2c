"""Calls of one network on several inputs, of few rows each, as one call: a product then reads its weights once.

Classifier-free guidance calls its network with a label and without. The nodes of both calls are alike, read the same
weights and do not depend on each other, so that they can be mapped over a new axis of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.mapped import mapped_values
from odelet_export.graphs.nodes import constant_of, read_by
from odelet_export.graphs.rewrite.alike import Alike, Values, fixed_sizes, pieces_of, read_by_all, weight_of
from odelet_export.graphs.rewrite.rule import Pass
from odelet_export.graphs.scope import Scope, Value

# A node takes about as long as it takes to read so many weights.
WEIGHTS_OF_A_NODE = 4096


def join_calls(model: ir.Model) -> int:
    """Join calls of one network where that saves time, in place. Returns the number of products that were joined."""
    graph = model.graph
    pieces = pieces_of(list(graph))
    # One look at all pieces is enough, unless some of them stand crosswise.
    crosswise = _circular([alike for piece in pieces for alike in piece], graph)
    joined = sum(_join(piece, graph) for piece in pieces if not crosswise or not _circular(piece, graph))
    if joined:
        graph.sort()
    return joined


def _join(piece: Sequence[Alike], graph: ir.Graph) -> int:
    """Join the calls in a piece where that saves time. Returns the number of products that were joined."""
    before = set(graph)
    stored = set(graph.initializers)
    found = _mapped(piece, Scope.of(graph))
    piece = [alike for alike in piece if all(value in found for value in alike[0].outputs)]
    inside = {node for alike in piece for node in alike}
    parts = _taken_apart(piece, inside, found)
    added = [node for node in graph if node not in before]
    needed = _needed([part.producer() for part in parts.values()], set(added))
    products = [alike for alike in piece if weight_of(alike[0]) is not None]
    saved = sum(len(alike) for alike in piece) - len(needed)
    read = sum((len(alike) - 1) * math.prod(fixed_sizes(weight_of(alike[0])) or []) for alike in products)
    if saved + read / WEIGHTS_OF_A_NODE <= 0:
        needed, products = set(), []
    else:
        for value, part in parts.items():
            value.replace_all_uses_with(part)
        graph.remove([node for alike in piece for node in alike], safe=True)
    graph.remove([node for node in added if node not in needed], safe=True)
    for name in set(graph.initializers) - stored:
        if not graph.initializers[name].uses():
            del graph.initializers[name]
    return len(products)


def _circular(piece: Sequence[Alike], graph: ir.Graph) -> bool:
    """Whether the nodes of a graph would depend on themselves if the calls were joined."""
    places = {node: i for i, node in enumerate(graph)}
    firsts = {places[node]: places[alike[0]] for alike in piece for node in alike}
    order: TopologicalSorter[int] = TopologicalSorter()
    for node, place in places.items():
        makers = [value.producer() for value in read_by(node)]
        read = [places[maker] for maker in makers if maker is not None]
        order.add(firsts.get(place, place), *(firsts.get(one, one) for one in read))
    try:
        order.prepare()
    except CycleError:
        return True
    return False


def _mapped(piece: Sequence[Alike], scope: Scope) -> dict[ir.Value, Value]:
    """The nodes of a piece, mapped over the calls. Returns what stands for the values of the first call."""
    made = {value for alike in piece for value in alike[0].outputs}
    inputs: dict[ir.Value, Value] = {}
    outside: dict[ir.Value, ir.Value] = {}
    for values in dict.fromkeys(values for alike in piece for values in read_by_all(alike)):
        if len(set(values)) == 1:
            outside[values[0]] = values[0]
        elif values[0] not in made:
            inputs[values[0]] = _stacked(values, scope)
    return mapped_values([alike[0] for alike in piece], inputs, outside, scope, size=len(piece[0]))


def _stacked(values: Values, scope: Scope) -> Value:
    """Values along a new first axis."""
    arrays = [constant_of(value) for value in values]
    known = [array for array in arrays if array is not None]
    if len(known) == len(values):
        return scope.constant(np.stack(known))
    sizes = fixed_sizes(values[0])
    assert sizes is not None
    if sizes:
        shape = scope.constant(np.array([len(values), *sizes], np.int64))
        rows = scope.call("Concat", *values, axis=0)
        rows.ir.type, rows.ir.shape = values[0].type, ir.Shape([len(values) * sizes[0], *sizes[1:]])
        stack = scope.call("Reshape", rows, shape)
    else:
        first = scope.constant(np.array([0], np.int64))
        stack = scope.call("Concat", *(scope.call("Unsqueeze", value, first) for value in values), axis=0)
    stack.ir.type, stack.ir.shape = values[0].type, ir.Shape([len(values), *sizes])
    return stack


def _taken_apart(
    piece: Sequence[Alike], inside: set[ir.Node], found: Mapping[ir.Value, Value]
) -> dict[ir.Value, ir.Value]:
    """The parts of what was mapped that stand for the values of each call that other nodes read."""
    parts = {}
    for alike in piece:
        for values in zip(*(node.outputs for node in alike), strict=True):
            if any(use.node not in inside for value in values for use in value.uses()):
                for value, part in zip(values, _split(found[values[0]], values), strict=True):
                    part.ir.type, part.ir.shape = value.type, value.shape
                    parts[value] = part.ir
    return parts


def _split(stack: Value, values: Values) -> list[Value]:
    """The parts of a stack, which stand for values."""
    maker, sizes = stack.ir.producer(), fixed_sizes(values[0])
    rows = maker.inputs[0] if maker is not None and maker.op_type == "Reshape" else None
    if rows is None or not sizes or fixed_sizes(rows) != [len(values) * sizes[0], *sizes[1:]]:
        return [stack[i] for i in range(len(values))]
    parts: list[Value] = stack.scope.call("Split", rows, axis=0, num_outputs=len(values), outputs=len(values))
    return parts


def _needed(nodes: Sequence[ir.Node | None], within: set[ir.Node]) -> set[ir.Node]:
    """The nodes of a set on which nodes depend, and these themselves."""
    needed: set[ir.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node is not None and node in within and node not in needed:
            needed.add(node)
            waiting.extend(value.producer() for value in read_by(node))
    return needed


JOINED_CALLS = Pass(
    name="calls of one network",
    about="calls of a network on few rows become one call, in which a product reads its weights once",
    apply=join_calls,
)
