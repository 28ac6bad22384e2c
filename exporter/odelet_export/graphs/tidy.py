"""Tidies a finished graph: it removes unused nodes and debug information, orders the nodes, and gives names."""

from __future__ import annotations

import re

import onnx_ir as ir
import onnx_ir.passes.common as passes

from odelet_export.graphs.nodes import DOMAIN, name_inner_values
from odelet_export.graphs.unused import identities_to_keep, remove_unused

# torch's name for a size that depends on values.
_OF_VALUES = re.compile(r"u\d+")


def tidy(model: ir.Model, *, keep_debug_info: bool) -> None:
    """Remove nodes that no output needs, put the others in order, and give each value a name of its own.

    keep_debug_info: whether to leave the metadata and node names by which torch says where a node comes from.
    """
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
        # The pass clears the metadata of graphs and nodes, and leaves the metadata that torch put on values.
        for value in [*model.graph.inputs, *model.graph.initializers.values()]:
            value.metadata_props.clear()
    # IdentityEliminationPass would remove these nodes too; in another domain it does not see them.
    needed_identities = identities_to_keep(model)
    for node in needed_identities:
        node.domain = DOMAIN
    for step in steps:
        step(model)
        if isinstance(step, passes.IdentityEliminationPass):
            for node in needed_identities:
                node.domain = ""
    name_inner_values(model.graph)
    _forget_sizes_of_values(model.graph)
    if not keep_debug_info:
        # Node names take an eighth of the bytes of a small model's graphs.
        for node in model.graph.all_nodes():
            node.name = None


def _forget_sizes_of_values(graph: ir.Graph) -> None:
    """Remove the names of sizes that depend on values from the shapes inside a graph.

    A copy of a field has the same names for other sizes, and ONNX Runtime would put arrays of one name into memory of
    one size.
    """
    kept = {*graph.inputs, *graph.outputs}
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and value not in kept:
                names = [dim.value if isinstance(dim, ir.SymbolicDim) else None for dim in value.shape]
                if any(name is not None and _OF_VALUES.fullmatch(name) for name in names):
                    value.shape = ir.Shape([dim if isinstance(dim, int) else None for dim in value.shape])


def _name_initializers(graph: ir.Graph) -> None:
    """Rename initializers that have the name of an input; NameFixPass may choose a name that is taken."""
    inputs = {value.name: value for value in graph.inputs}
    for name, value in list(graph.initializers.items()):
        if name in inputs and inputs[name] is not value:
            while name in graph.initializers or name in inputs:
                name = f"{name}.stored"
            value.name = name
