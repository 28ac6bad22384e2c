"""The removal of nodes that no output needs from a graph and its subgraphs, and the Identity nodes that must stay."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as passes

from odelet_export.graphs.nodes import bodies


def remove_unused(model: ir.Model) -> None:
    """Remove the nodes and initializers that no output depends on.

    onnx-ir still counts the uses in the subgraphs of a node that was removed. In a field that holds a loop, these uses
    would keep everything that the loop read. So they are cut, and the rest is removed in another round.
    """
    graph = model.graph
    while True:
        with_bodies = [(node, inside) for node in graph.all_nodes() if (inside := bodies(node))]
        passes.RemoveUnusedNodesPass()(model)
        removed = [inside for node, inside in with_bodies if node.graph is None]
        if not removed:
            return
        for inner in (inner for inside in removed for body in inside for inner in body.all_nodes()):
            for place in range(len(inner.inputs)):
                inner.replace_input_with(place, None)


def identities_to_keep(model: ir.Model) -> list[ir.Node]:
    """The Identity nodes that a graph needs.

    A branch returns a value from outside by an Identity; where two outputs have one value, one of them is an Identity.
    """
    needed, returned = [], set()
    for node in model.graph.all_nodes():
        if node.op_type != "Identity" or not node.outputs[0].is_graph_output():
            continue
        value = node.inputs[0]
        if value is None:
            continue
        if value.graph is not node.graph or value.is_graph_output() or value in returned:
            needed.append(node)
        returned.add(value)
    return needed
