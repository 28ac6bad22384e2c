"""The weights of convolutions inside loops, stored in the body of the loop.

ONNX Runtime gives convolutions the layout in which they are fast only where their weights are stored in the graph of
the convolution itself. A body that reads them from the graph around it takes 1.5 to 1.9 times as long for batches of
small images.
"""

from __future__ import annotations

import onnx_ir as ir

from odelet_export.graphs.nodes import bodies

_CONVOLUTIONS = ("Conv", "ConvTranspose")
# A body cannot keep its weights in another file, and they are stored twice where the graph around reads them, too.
MOST_BYTES = 2**22


def store_inside_loops(model: ir.Model) -> None:
    """Store the weights of convolutions in the bodies of loops that hold them, in place, up to MOST_BYTES in all."""
    inner = {node for loop in model.graph for body in bodies(loop) for node in body.all_nodes()}
    left = MOST_BYTES
    stored: dict[tuple[ir.Graph, ir.Value], ir.Value] = {}
    for node in model.graph.all_nodes():
        if node not in inner or node.op_type not in _CONVOLUTIONS or node.domain:
            continue
        owner = node.graph
        assert isinstance(owner, ir.Graph)
        for place, value in enumerate(node.inputs):
            tensor = None if value is None else value.const_value
            if value is None or tensor is None or value.graph is not model.graph or not value.is_initializer():
                continue
            if value.is_graph_input():
                continue
            key = owner, value
            if key not in stored:
                if tensor.nbytes > left:
                    continue
                left -= tensor.nbytes
                stored[key] = _copy(value, owner)
            node.replace_input_with(place, stored[key])
    for value in {value for _, value in stored}:
        if not value.uses() and not value.is_graph_output():
            del model.graph.initializers[str(value.name)]


def _copy(value: ir.Value, owner: ir.Graph) -> ir.Value:
    copy = ir.Value(name=f"{value.name}.inside", type=value.type, shape=value.shape, const_value=value.const_value)
    owner.register_initializer(copy)
    return copy
