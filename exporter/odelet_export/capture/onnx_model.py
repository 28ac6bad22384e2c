"""Translates a traced program to ONNX by torch's own exporter, with our operators, decompositions and casts."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import torch

from odelet_export.capture.operators.decomposing import decomposing
from odelet_export.capture.operators.translations import exact_float64


def to_onnx(
    program: torch.export.ExportedProgram, names: Sequence[str], output_names: Sequence[str], opset: int
) -> tuple[ir.Model, torch.export.ExportedProgram]:
    """The ONNX model of a program, and the program decomposed into the operators that were translated."""
    # No output depends on two of the three calls of each field; the translation is faster without their nodes.
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    with decomposing(), exact_float64() as table:
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
    _cast_concatenated(result.model)
    return result.model, result.exported_program


def _cast_concatenated(model: ir.Model) -> None:
    """Cast the inputs of each Concat to the type of its output, in place.

    torch promotes the tensors that it concatenates, as where an event function stacks float32 numbers of the state and
    the float64 time; its translation to ONNX leaves the casts out.
    """
    for node in list(model.graph.all_nodes()):
        dtype = node.outputs[0].dtype if node.op_type == "Concat" else None
        if dtype is None:
            continue
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype is not None and value.dtype != dtype:
                cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(dtype))])
                cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(dtype), value.shape
                assert node.graph is not None
                node.graph.insert_before(node, cast)
                node.replace_input_with(place, cast.outputs[0])
