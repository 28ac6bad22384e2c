"""Tidying a finished graph: unused nodes, order, names and debug information."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as passes

from odelet_export.graphs.nodes import DOMAIN, name_inner_values
from odelet_export.graphs.unused import identities_to_keep, remove_unused


def tidy(model: ir.Model, *, keep_debug_info: bool) -> None:
    """Drop what nothing needs any more, put nodes in order, and name everything once."""
    remove_unused(model)
    model.graph.sort()
    _name_initializers(model.graph)
    steps: list[ir.passes.InPlacePass] = [
        passes.IdentityEliminationPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.NameFixPass(),
        passes.RemoveUnusedOpsetsPass(),
    ]
    if not keep_debug_info:
        steps.append(passes.ClearMetadataAndDocStringPass())
        # The pass clears graphs and nodes, and leaves what torch notes on values.
        for value in [*model.graph.inputs, *model.graph.initializers.values()]:
            value.metadata_props.clear()
    handing_on = identities_to_keep(model)  # the pass would remove them
    for node in handing_on:
        node.domain = DOMAIN
    for step in steps:
        step(model)
        if isinstance(step, passes.IdentityEliminationPass):
            for node in handing_on:
                node.domain = ""
    name_inner_values(model.graph)
    if not keep_debug_info:
        # An eighth of the graphs of a small model.
        for node in model.graph.all_nodes():
            node.name = None


def _name_initializers(graph: ir.Graph) -> None:
    """Give the initializers that are named like an input another name; NameFixPass may choose one that is taken."""
    inputs = {value.name: value for value in graph.inputs}
    for name, value in list(graph.initializers.items()):
        if name in inputs and inputs[name] is not value:
            while name in graph.initializers or name in inputs:
                name = f"{name}.stored"
            value.name = name
