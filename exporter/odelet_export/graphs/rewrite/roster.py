"""The roster of rewrites, and the function that applies them to a captured graph."""

from __future__ import annotations

import onnx_ir as ir

from odelet_export.graphs.rewrite.activations import ACTIVATIONS
from odelet_export.graphs.rewrite.attention import ATTENTION
from odelet_export.graphs.rewrite.channels import CHANNELS
from odelet_export.graphs.rewrite.equal_rows import EQUAL_ROWS
from odelet_export.graphs.rewrite.joined_calls import JOINED_CALLS
from odelet_export.graphs.rewrite.powers import POWERS
from odelet_export.graphs.rewrite.rule import Pass, Rewrite
from odelet_export.graphs.rewrite.softplus import LOG_SIGMOID, SOFTPLUS, SOFTPLUS_OF_SCALED, SOFTPLUS_OF_TORCH
from odelet_export.graphs.rewrite.time_channel import TIME_IN_CONV, TIME_IN_GEMM, TIME_IN_PRODUCT

# In the order in which they are applied, one after the other.
REWRITES: tuple[Rewrite | Pass, ...] = (
    EQUAL_ROWS,
    JOINED_CALLS,
    TIME_IN_CONV,
    TIME_IN_GEMM,
    TIME_IN_PRODUCT,
    SOFTPLUS_OF_TORCH,
    SOFTPLUS_OF_SCALED,
    LOG_SIGMOID,
    SOFTPLUS,
    *ACTIVATIONS,
    POWERS,
    CHANNELS,
    ATTENTION,
)


def rewrite(model: ir.Model, *, onnxruntime: bool = True) -> dict[str, int]:
    """Apply the rewrites to a captured graph, in place. Returns in how many places, by the name of the rewrite.

    onnxruntime: whether ONNX Runtime will run the graph; if not, only rewrites that help every engine are applied.
    """
    chosen = [one for one in REWRITES if onnxruntime or one.everywhere]
    counts = {one.name: one.apply(model) for one in chosen}
    found = {name: count for name, count in counts.items() if count}
    if found:
        _add_types(model)
    return found


def _add_types(model: ir.Model) -> None:
    """Give each new value a type, which a value needs that passes from one graph to another. All operators that the
    rewrites emit have the type of their inputs."""
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.type is None and value.const_value is not None:
                value.type = ir.TensorType(value.const_value.dtype)
            elif value.type is None:
                value.type = next((one.type for one in node.inputs if one is not None and one.type is not None), None)
