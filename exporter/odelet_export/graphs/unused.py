"""Removing what nothing needs from a graph, subgraphs included."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as passes

from odelet_export.graphs.nodes import bodies


def remove_unused(model: ir.Model) -> None:
    """Remove the nodes and initializers that no output depends on.

    A node that leaves the graph still uses, from inside its subgraphs, what these read from outside; such uses
    would keep the rest of a field that holds a loop.
    """
    graph = model.graph
    while True:
        held = [(node, inside) for node in graph.all_nodes() if (inside := bodies(node))]
        passes.RemoveUnusedNodesPass()(model)
        gone = [inside for node, inside in held if node.graph is None]
        if not gone:
            return
        for inner in (inner for inside in gone for body in inside for inner in body.all_nodes()):
            for place in range(len(inner.inputs)):
                inner.replace_input_with(place, None)


def identities_to_keep(model: ir.Model) -> list[ir.Node]:
    """The Identity nodes that a graph needs: a branch hands on a value from outside by one, and two outputs that are
    one value need one to be told apart."""
    found, given = [], set()
    for node in model.graph.all_nodes():
        if node.op_type != "Identity" or not node.outputs[0].is_graph_output():
            continue
        value = node.inputs[0]
        if value is None:
            continue
        if value.graph is not node.graph or value.is_graph_output() or value in given:
            found.append(node)
        given.add(value)
    return found
