"""Translates a traced program to ONNX by torch's own exporter, with our operators, decompositions and casts."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import torch

from odelet_export.capture.operators.decomposing import decomposing
from odelet_export.capture.operators.equal_nodes import merge_in_program
from odelet_export.capture.operators.kept_tables import kept_tables
from odelet_export.capture.operators.mixed_numbers import unmix_numbers
from odelet_export.capture.operators.promoting import quick_promotion
from odelet_export.capture.operators.quotients import round_down
from odelet_export.capture.operators.rewriting import quick_rules
from odelet_export.capture.operators.translations import exact_float64
from odelet_export.capture.operators.unused import remove_unused


def to_onnx(
    program: torch.export.ExportedProgram, names: Sequence[str], output_names: Sequence[str], opset: int
) -> tuple[ir.Model, torch.export.ExportedProgram]:
    """The ONNX model of a program, and the program decomposed into the operators that were translated."""
    # No output depends on two of the three calls of each field; the translation is faster without their nodes.
    remove_unused(program)
    merge_in_program(program)
    unmix_numbers(program)
    round_down(program)
    with kept_tables(), decomposing(), quick_promotion(), quick_rules(), exact_float64() as table:
        result = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=list(names),
            output_names=list(output_names),
            custom_translation_table=table,
        )
    assert result is not None and result.exported_program is not None
    _cast_inputs(result.model)
    return result.model, result.exported_program


# The operators with inputs of one type that torch's translation may give in another: the places of these inputs, and
# the type; None for the type of the output.
_CAST: dict[str, tuple[tuple[int, ...] | None, ir.DataType | None]] = {
    # torch promotes the tensors that it concatenates, as where an event function stacks float32 numbers of the state
    # and the float64 time.
    "Concat": (None, None),
    # torch takes indices of int32, uint8 and others, as SciPy makes them.
    "GatherND": ((1,), ir.DataType.INT64),
    "ScatterND": ((1,), ir.DataType.INT64),
}


def _cast_inputs(model: ir.Model) -> None:
    """Cast inputs to the types that their operators take, in place."""
    for node in list(model.graph.all_nodes()):
        if node.op_type not in _CAST:
            continue
        places, dtype = _CAST[node.op_type]
        dtype = dtype or node.outputs[0].dtype
        for place, value in enumerate(node.inputs):
            if dtype is None or value is None or (places is not None and place not in places):
                continue
            if value.dtype is not None and value.dtype != dtype:
                cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(dtype))])
                cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(dtype), value.shape
                assert node.graph is not None
                node.graph.insert_before(node, cast)
                node.replace_input_with(place, cast.outputs[0])
