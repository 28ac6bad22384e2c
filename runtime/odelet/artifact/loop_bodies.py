"""Whether the loops of a graph can be ended while they run.

ONNX Runtime looks at the options of a run before each node. A loop without a node in its body, or with constant nodes
alone, which are computed when the graph loads, may go on for ever where nothing can end it. The law here: no such loop
reaches ONNX Runtime.
"""

from __future__ import annotations

from odelet.artifact.nodes import Graph
from odelet.errors import ArtifactError

_LOOPS = ("Loop", "Scan")
# What these give is known when a graph loads, wherever the shape is.
_OF_SHAPES = ("Shape", "Size")


def check_loops(graph: Graph, *, name: str) -> None:
    """Raise ArtifactError for a loop whose body computes nothing from what it is given. name: of the file, in
    messages."""
    for node in graph.nodes:
        for _, body in node.bodies:
            if node.operator in _LOOPS and not _computes(body):
                raise ArtifactError(
                    f"{name}: the body of a {node.operator} computes nothing from its inputs, so nothing could end "
                    "it; export a model without such a loop"
                )
            check_loops(body, name=name)


def _computes(body: Graph) -> bool:
    """Whether a node of a body, from what the body is given, makes an output of the body."""
    given, outputs = {port.name for port in body.inputs}, {port.name for port in body.outputs}
    for node in body.nodes:
        if given.isdisjoint(node.inputs) or node.operator in _OF_SHAPES:
            continue
        if not outputs.isdisjoint(node.outputs):
            return True
        given.update(node.outputs)
    return False
