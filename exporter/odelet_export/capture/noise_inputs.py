"""The markers of random draws in a traced graph, made inputs of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir import convenience

from odelet_export.model.random_draws import DOMAIN, OPERATOR, Draw
from odelet_intercept.errors import CaptureError


@dataclass(frozen=True)
class NoiseInput:
    """A graph input that stands for a base draw. name: of the input."""

    name: str
    draw: Draw


def inputs_for_draws(model: ir.Model, draws: Sequence[Draw]) -> list[NoiseInput]:
    """Replace the markers of base draws in a graph by inputs, in the order of the draws; unused ones are gone."""
    graph = model.graph
    markers = [node for node in model.graph.all_nodes() if (node.domain, node.op_type) == (DOMAIN, OPERATOR)]
    taken = {value.name for value in [*graph.inputs, *graph.outputs]}
    found: list[NoiseInput] = []
    for node in sorted(markers, key=lambda node: node.attributes["index"].as_int()):
        index = node.attributes["index"].as_int()
        if index < 0 or node.graph is not graph:
            raise CaptureError(
                "random numbers drawn at the second call of a field are used in later ones, or they are drawn in a "
                "loop of torch's; draw them before the solve"
            )
        number = len(found)
        while f"noise_{number}" in taken:
            number += 1
        (marked,) = node.outputs
        value = ir.Value(name=f"noise_{number}", type=marked.type, shape=marked.shape)
        taken.add(value.name)
        convenience.replace_all_uses_with(marked, value)
        graph.remove(node)
        graph.inputs.append(value)
        found.append(NoiseInput(f"noise_{number}", draws[index]))
    return found
