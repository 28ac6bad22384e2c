"""The operators that choose elements of a table by whole numbers, which may be outside the table."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from odelet_export.targets.build.instructions import Seen

# Those whose numbers choose along one axis, and those whose rows of numbers choose along several.
_ALONG_AXIS = ("Gather", "GatherElements", "ScatterElements", "Scatter")
_ALONG_SEVERAL = ("GatherND", "ScatterND")


def chosen_among(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> tuple[int, ...] | None:
    """The number of elements among which the second input of a node chooses, for each place along its last axis; one
    number where all choose along the same axis. None for an operator that does not choose."""
    table = inputs[0] if inputs else None
    if table is None:
        return None
    numbers = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type in _ALONG_AXIS:
        return (table.shape[numbers.get("axis", 0)],)
    if node.op_type in _ALONG_SEVERAL:
        indices = inputs[1]
        assert indices is not None
        first = numbers.get("batch_dims", 0)
        return table.shape[first : first + indices.shape[-1]]
    return None
