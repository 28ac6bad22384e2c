"""Nodes of a graph: the values that they read, and copies of nodes. The law here: onnx-ir alone, and so no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

# The domain of the nodes that mark solves in a captured graph.
DOMAIN = "odelet"
# The operators that multiply matrices.
PRODUCTS = ("Gemm", "MatMul")


def constant_of(value: ir.Value) -> np.ndarray | None:
    """The array of a value that is a constant of its graph, or None."""
    return None if value.const_value is None or value.is_graph_input() else value.const_value.numpy()


def number_of(value: ir.Value) -> float | None:
    """The number of a value that is a constant of one element, or None."""
    array = constant_of(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The subgraphs of a node."""
    return [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]


def read_by(node: ir.Node) -> list[ir.Value]:
    """The values that a node and its subgraphs read from outside the node. A value may be in the list twice."""
    read = [value for value in node.inputs if value is not None]
    for body in bodies(node):
        inner_values = {output for inner in body.all_nodes() for output in inner.outputs} | set(body.inputs)
        inner_values |= set(body.initializers.values())
        deeper = [graph for inner in body.all_nodes() for graph in bodies(inner)]
        inner_values |= {value for graph in deeper for value in [*graph.inputs, *graph.initializers.values()]}
        nested = [value for inner in body.all_nodes() for value in inner.inputs if value is not None]
        nested += [value for graph in [body, *deeper] for value in graph.outputs]
        read += [value for value in nested if value not in inner_values]
    return read


def copy_nodes(
    nodes: Sequence[ir.Node], results: Sequence[ir.Value], replaced: Mapping[ir.Value, ir.Value], graph: ir.Graph
) -> tuple[dict[ir.Value, ir.Value], set[ir.Value]]:
    """Append a copy of nodes to a graph.

    replaced: for each value that the nodes read and do not make, the value that the copy reads. Returns the copies of
    the results, by result, where the nodes make them; and the keys of `replaced` that the nodes read.
    """
    node_outputs = {output for node in nodes for output in node.outputs}
    made_results = [result for result in results if result in node_outputs]
    view = ir.GraphView(list(replaced), made_results, nodes=nodes)
    copy = view.clone()
    stand_ins = dict(zip(replaced, list(copy.inputs), strict=True))
    read = {value for value, stand_in in stand_ins.items() if stand_in.uses()}
    for value, actual in replaced.items():
        convenience.replace_all_uses_with(stand_ins[value], actual)
    copied = dict(zip(made_results, list(copy.outputs), strict=True))
    copies = list(copy)
    copy.outputs.clear()
    copy.remove(copies)
    graph.extend(copies)
    return copied, read


def name_inner_values(graph: ir.Graph) -> None:
    """Give the values inside subgraphs names that no other value has.

    ONNX Runtime refuses a name inside a subgraph that a value of the outer graph has, even where a later node makes
    that value; NameFixPass looks only at earlier ones.
    """
    used_names = {output.name for node in graph for output in node.outputs}
    for node in graph.all_nodes():
        for output in node.outputs if node.graph is not graph else ():
            while output.name in used_names:
                output.name = f"{output.name}.inner"
            used_names.add(output.name)
