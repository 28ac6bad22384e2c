"""Division of whole numbers, so that no value of an input ends the process in which the graph runs.

The law here: a division gives what torch gives, or ONNX Runtime raises an error. ONNX Runtime leaves the smallest int64
(or int32) divided by -1 to the processor, which ends the process, and up to some version a division by zero, too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

from odelet.engine.failures import DIVIDED_BY_ZERO
from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.tables import INT64, Added, Tables

INT32 = ir.DataType.INT32
# C++ divides narrower integers as int32, where the quotient fits.
_OVERFLOWING = (INT32, INT64)
_NARROW = (ir.DataType.INT8, ir.DataType.INT16)
_UNSIGNED = (ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64)
_WHOLE = (*_OVERFLOWING, *_NARROW, *_UNSIGNED)
# Operators whose output has the type and the numbers of their first input, or some of them.
_SAME_NUMBERS = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Transpose")


def guard_divisions(model: ir.Model, tables: Tables) -> None:
    """Guard each Div and Mod of whole numbers of a model and its subgraphs whose divisor may be 0 or -1, in place.

    tables: of the model.

    The guard looks a factor up for the divisor: 1, and -1 where the divisor is -1, so that dividend and divisor change
    their signs; where the divisor is 0, it looks far beyond the end of the table, which ONNX Runtime answers
    with an error that names the place.
    """
    for node in list(model.graph.all_nodes()):
        if node.op_type in ("Div", "Mod") and node.domain == "":
            dtype = _dtype(node)
            if dtype in _WHOLE and _may_be_refused(node.inputs[1]):
                _guard(node, dtype, tables)


def _dtype(node: ir.Node) -> ir.DataType | None:
    values = [*node.inputs, *node.outputs]
    return next((value.dtype for value in values if value is not None and value.dtype is not None), None)


def _may_be_refused(divisor: ir.Value | None) -> bool:
    """Whether a divisor may hold 0 or -1, as far as can be told."""
    while divisor is not None:
        if (constant := known_numbers(divisor)) is not None:
            return bool(np.isin(constant, (0, -1)).any())
        node = divisor.producer()
        if node is None or node.op_type not in _SAME_NUMBERS or node.domain != "":
            return True
        divisor = node.inputs[0]
    return True


def known_numbers(value: ir.Value) -> np.ndarray | None:
    """The array of a value that is a constant, stored or made by a node; else None."""
    if (array := constant_of(value)) is not None:
        return array
    tensor = None if value.is_graph_input() else convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _guard(node: ir.Node, dtype: ir.DataType, tables: Tables) -> None:
    dividend, divisor = node.inputs
    assert dividend is not None and divisor is not None
    stored, add = tables.stored, Added(node)
    # Not every version of ONNX Runtime multiplies and compares every integer.
    kind = dtype if dtype in _OVERFLOWING else INT64
    wide = divisor if kind is dtype else add("Cast", [divisor], kind, divisor, to=int(kind))
    zero = add("Equal", [wide, stored(0, kind)], ir.DataType.BOOL, divisor)
    place, table = stored(0, INT64), stored([1], kind)
    if dtype in _OVERFLOWING:
        minus = add("Equal", [wide, stored(-1, kind)], ir.DataType.BOOL, divisor)
        place, table = add("Where", [minus, stored(1, INT64), place], INT64, divisor), stored([1, -1], kind)
    place = add("Where", [zero, stored(DIVIDED_BY_ZERO, INT64), place], INT64, divisor)
    factor = add("Gather", [table, place], kind, divisor)
    safe = add("Mul", [wide, factor], kind, divisor)
    if dtype in _OVERFLOWING:
        node.replace_input_with(0, add("Mul", [dividend, factor], kind, node.outputs[0]))
    node.replace_input_with(1, safe if kind is dtype else add("Cast", [safe], dtype, divisor, to=int(dtype)))
