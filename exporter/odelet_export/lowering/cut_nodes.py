"""The nodes at which a host graph is divided, and the nodes around them that make the division possible.

The law here: no operator is added but Identity.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir import convenience

from odelet_export.graphs.nodes import DOMAIN, bodies

DRIVE = "Drive"


def is_drive(node: ir.Node) -> bool:
    """Whether a node stands for a solve that the runtime drives."""
    return node.domain == DOMAIN and node.op_type == DRIVE


def is_loop(node: ir.Node) -> bool:
    """Whether a node is a Loop."""
    return node.domain == "" and node.op_type == "Loop"


def takes_place(node: ir.Node, *, loops: bool) -> bool:
    """Whether the program takes the place of a node: of a driven solve and, with `loops`, of a Loop, and of an If with
    a Loop inside."""
    return is_drive(node) or (loops and any(map(is_loop, with_inner(node))))


def with_inner(node: ir.Node) -> list[ir.Node]:
    """A node, the nodes of its subgraphs, and of their subgraphs."""
    return [node, *(inner for body in bodies(node) for inner in body.all_nodes())]


def prepare(graph: ir.Graph, *, loops: bool) -> None:
    """Insert Identity nodes so that the values that pass between graphs are made by nodes, or given by the caller.

    loops: whether loops are taken out. What a loop starts from and what its body returns are then values that nodes
    make, and the settings of calls are read once. No output is a stored value, and no driven solve reads one, as a
    graph must return what the runtime looks up by its name.
    """
    _return_stored(graph, [node for node in graph if is_drive(node)])
    if not loops:
        return
    _read_settings_once(graph)
    for node in [node for node in graph.all_nodes() if any(map(is_loop, with_inner(node)))]:
        owner = node.graph
        assert isinstance(owner, ir.Graph)
        for place, value in enumerate(node.inputs):
            if value is not None and value.producer() is None:
                made = _copied(value)
                owner.insert_before(node, [made])
                node.replace_input_with(place, made.outputs[0])
        for body in bodies(node):
            _prepare_results(body)


def _read_settings_once(graph: ir.Graph) -> None:
    settings: dict[ir.Value, ir.Value] = {
        value: ir.Value(name=f"{value.name}.given", type=value.type, shape=value.shape)
        for value in graph.inputs
        if value.const_value is not None
    }
    for setting, copy in settings.items():
        convenience.replace_all_uses_with(setting, copy)
    first = next(iter(graph), None)
    nodes = [ir.Node("", "Identity", [value], outputs=[copy]) for value, copy in settings.items() if copy.uses()]
    if first is not None:
        graph.insert_before(first, nodes)


def _return_stored(graph: ir.Graph, drives: Sequence[ir.Node]) -> None:
    """Have a node make each stored value that is an output, or that a driven solve reads, by the name that the value
    has in the card."""
    for value in dict.fromkeys([*graph.outputs, *(value for drive in drives for value in drive.inputs)]):
        if value is None or value.const_value is None or value.is_graph_input() or value.producer() is not None:
            continue
        name = str(value.name)
        stored = ir.Value(name=f"{name}.stored", type=value.type, shape=value.shape, const_value=value.const_value)
        made = ir.Value(name=name, type=value.type, shape=value.shape)
        for drive in drives:
            for place, read in enumerate(drive.inputs):
                if read is value:
                    drive.replace_input_with(place, made)
        for place, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[place] = made
        convenience.replace_all_uses_with(value, stored)
        graph.register_initializer(stored)
        node = ir.Node("", "Identity", [stored], outputs=[made])
        if drives:
            graph.insert_before(drives[0], node)
        else:
            graph.append(node)


def _prepare_results(body: ir.Graph) -> None:
    """Have each result of a subgraph made by a node of its own there."""
    made: set[ir.Value] = set()
    for place, value in enumerate(body.outputs):
        maker = value.producer()
        if maker is None or maker.graph is not body or value in made:
            copy = _copied(value)
            body.append(copy)
            body.outputs[place] = copy.outputs[0]
        made.add(body.outputs[place])


def _copied(value: ir.Value) -> ir.Node:
    copy = ir.Value(name=f"{value.name}.copy", type=value.type, shape=value.shape)
    return ir.Node("", "Identity", [value], outputs=[copy])
