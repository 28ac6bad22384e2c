"""What ONNX's checker refuses is an ExportError with the operator, and with the line where the graph still has it."""

import onnx_ir as ir
import pytest

from odelet_export import ExportError
from odelet_export.targets.onnx_check import check_graph


def graph_of_mixed_types():
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    y = ir.Value(name="y", type=ir.TensorType(ir.DataType.DOUBLE), shape=ir.Shape([2]))
    node = ir.Node("", "Add", [x, y])
    node.outputs[0].name = "sum"
    node.outputs[0].type, node.outputs[0].shape = x.type, x.shape
    return ir.Model(ir.Graph([x, y], node.outputs, nodes=[node], opset_imports={"": 18}, name="g"), ir_version=8)


def test_mixed_types_are_refused_with_the_operator(tmp_path):
    model = graph_of_mixed_types()
    ir.save(model, tmp_path / "g.onnx")
    with pytest.raises(ExportError, match=r"ONNX's Add(?s:.*)dtypes(?s:.*)InferenceError"):
        check_graph(tmp_path / "g.onnx", model)


def test_the_line_is_named_where_the_graph_has_it(tmp_path):
    model = graph_of_mixed_types()
    ir.save(model, tmp_path / "g.onnx")
    model.graph[0].metadata_props["pkg.torch.onnx.stack_trace"] = f'File "{__file__}", line 3, in forward'
    with pytest.raises(ExportError, match=r"test_onnx_check.py\", line 3"):
        check_graph(tmp_path / "g.onnx", model)
