"""Nodes of a graph: what they read, and copies of them. The law here: nothing but onnx-ir, so that it runs without
torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir import convenience


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The subgraphs of a node."""
    return [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]


def read_by(node: ir.Node) -> list[ir.Value]:
    """The values that a node reads from outside itself, those of its subgraphs included."""
    read = [value for value in node.inputs if value is not None]
    for body in bodies(node):
        made = {output for inner in body.all_nodes() for output in inner.outputs} | set(body.inputs)
        made |= set(body.initializers.values())
        deeper = [graph for inner in body.all_nodes() for graph in bodies(inner)]
        made |= {value for graph in deeper for value in [*graph.inputs, *graph.initializers.values()]}
        nested = [value for inner in body.all_nodes() for value in inner.inputs if value is not None]
        nested += [value for graph in [body, *deeper] for value in graph.outputs]
        read += [value for value in nested if value not in made]
    return read


def copy_nodes(
    nodes: Sequence[ir.Node], results: Sequence[ir.Value], replaced: Mapping[ir.Value, ir.Value], graph: ir.Graph
) -> tuple[dict[ir.Value, ir.Value], set[ir.Value]]:
    """Append a copy of nodes to a graph.

    replaced: what the copy reads, for each value that the nodes read and do not make. Returns the copies of those of
    the results that the nodes make, and which values of `replaced` the nodes read.
    """
    made = {output for node in nodes for output in node.outputs}
    wanted = [result for result in results if result in made]
    view = ir.GraphView(list(replaced), wanted, nodes=nodes)
    copy = view.clone()
    stand_ins = dict(zip(replaced, list(copy.inputs), strict=True))
    read = {value for value, stand_in in stand_ins.items() if stand_in.uses()}
    for value, actual in replaced.items():
        convenience.replace_all_uses_with(stand_ins[value], actual)
    copied = dict(zip(wanted, list(copy.outputs), strict=True))
    copies = list(copy)
    copy.outputs.clear()
    copy.remove(copies)
    graph.extend(copies)
    return copied, read


def name_inner_values(graph: ir.Graph) -> None:
    """Give the values inside subgraphs names that no other value has.

    ONNX Runtime refuses one that an outer value has, even if that is made later, where NameFixPass does not look.
    """
    taken = {output.name for node in graph for output in node.outputs}
    for node in graph.all_nodes():
        for output in node.outputs if node.graph is not graph else ():
            while output.name in taken:
                output.name = f"{output.name}.inner"
            taken.add(output.name)


DOMAIN = "odelet"
