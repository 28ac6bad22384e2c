"""Guards in front of operators that would end the process in which a graph runs, for some values of its inputs.

The law here: `odelet.artifact.hazards` finds each of these operators guarded, and loads no graph in which one is not.
"""

from __future__ import annotations

import onnx_ir as ir

from odelet.artifact.hazards import NEVER_EMPTY
from odelet.engine.failures import EMPTY
from odelet_export.graphs.divisions import guard_divisions, known_numbers
from odelet_export.graphs.keep_nan import keep_nan
from odelet_export.graphs.tables import INT64, Added, Tables

# A diagonal below this is as far outside every matrix.
_LOWEST_DIAGONAL = -(2**62)


def add_guards(model: ir.Model) -> None:
    """Guard what needs it in a model and its subgraphs, in place."""
    tables = Tables(model.graph)
    guard_divisions(model, tables)
    for node in list(model.graph.all_nodes()):
        if node.domain == "" and node.op_type in NEVER_EMPTY:
            _refuse_empty(node, tables)
        elif node.domain == "" and node.op_type == "Trilu":
            _bound_diagonal(node, tables)
        keep_nan(node, tables)


def _refuse_empty(node: ir.Node, tables: Tables) -> None:
    """Give an operator its first input with its own shape times 1. Where the input has no elements, the 1 is looked up
    far beyond the end of its table, which ONNX Runtime answers with an error that names the place."""
    given = node.inputs[0]
    assert given is not None
    add = Added(node)
    size = add("Size", [given], INT64, None)
    empty = add("Equal", [size, tables.stored(0, INT64)], ir.DataType.BOOL, size)
    place = add("Where", [empty, tables.stored(EMPTY, INT64), tables.stored(0, INT64)], INT64, size)
    factor = add("Gather", [tables.stored([1], INT64), place], INT64, size)
    shape = add("Mul", [add("Shape", [given], INT64, None), factor], INT64, None)
    node.replace_input_with(0, add("Reshape", [given, shape], given.dtype, given))


def _bound_diagonal(node: ir.Node, tables: Tables) -> None:
    diagonal = node.inputs[1] if len(node.inputs) > 1 else None
    if diagonal is not None and known_numbers(diagonal) is None:
        bounded = Added(node)("Max", [diagonal, tables.stored(_LOWEST_DIAGONAL, INT64)], INT64, diagonal)
        node.replace_input_with(1, bounded)
