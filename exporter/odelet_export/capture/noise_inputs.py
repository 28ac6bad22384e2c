"""Base draws of a captured graph, which the trace holds as marker nodes, become inputs of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir import convenience

from odelet_export.model.random_sources import DOMAIN, OPERATOR, Draw
from odelet_intercept.errors import CaptureError


@dataclass(frozen=True)
class NoiseInput:
    """A graph input that takes the random numbers of one base draw. name: the input's name, such as noise_0."""

    name: str
    draw: Draw


def inputs_for_draws(model: ir.Model, draws: Sequence[Draw]) -> list[NoiseInput]:
    """Replace the markers of base draws by new inputs at the end of the graph, and return these, in order.

    model: changed in place; it must have no unused nodes, so that a draw that no output depends on becomes no input.
    draws: all base draws of the trace, by index. Raises CaptureError for a draw of a field's second call that a later
    call reads, and for a draw inside a loop of the graph.
    """
    graph = model.graph
    markers = [node for node in model.graph.all_nodes() if (node.domain, node.op_type) == (DOMAIN, OPERATOR)]
    used_names = {value.name for value in [*graph.inputs, *graph.outputs]}
    noise_inputs: list[NoiseInput] = []
    for node in sorted(markers, key=lambda node: node.attributes["index"].as_int()):
        index = node.attributes["index"].as_int()
        if index < 0 or node.graph is not graph:
            raise CaptureError(
                "random numbers drawn at the second call of a field are used in later ones, or they are drawn in a "
                "loop of torch's; draw them before the solve"
            )
        number = len(noise_inputs)
        while f"noise_{number}" in used_names:
            number += 1
        (marker_output,) = node.outputs
        value = ir.Value(name=f"noise_{number}", type=marker_output.type, shape=marker_output.shape)
        used_names.add(value.name)
        if marker_output.is_graph_output():
            returned = ir.Node("", "Identity", [value], outputs=[ir.Value(name=f"{marker_output.name}.draw")])
            (copy,) = returned.outputs
            copy.type, copy.shape = marker_output.type, marker_output.shape
            graph.insert_before(node, [returned])
            name = marker_output.name
            for place, output in enumerate(graph.outputs):
                if output is marker_output:
                    graph.outputs[place] = copy
            marker_output.name, copy.name = f"{name}.marker", name
        convenience.replace_all_uses_with(marker_output, value)
        graph.remove(node)
        graph.inputs.append(value)
        noise_inputs.append(NoiseInput(f"noise_{number}", draws[index]))
    return noise_inputs
