"""The list of operators is what odelet and torch emit, and an export checks its graphs against it."""

import ast
import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import onnx
import onnx_ir as ir
import pytest
import torch
from onnxscript.function_libs.torch_lib import ops as torchlib
from support.artifacts import affine_card
from support.paths import ROOT
from torch.onnx._internal.exporter._torchlib import ops as torchs_own
from torchdiffeq import odeint

from odelet.artifact.operators import OPERATORS, check_operators
from odelet.artifact.program_steps import RunStep
from odelet.artifact.proto import scan
from odelet_export import CaptureError, ExportError, export
from odelet_export.lowering.lower import LoweredModel
from odelet_export.pipeline.settings import OPSETS
from odelet_export.targets.onnx_files import write_graphs

RANDOM = {"Bernoulli", "Dropout", "Multinomial", "RandomNormalLike", "RandomUniformLike"}
SEQUENCES = {
    *("ConcatFromSequence", "SequenceAt", "SequenceEmpty", "SequenceInsert", "SequenceMap"),
    *("SequenceConstruct", "SplitToSequence"),
}
SCHEMAS = {schema.name: schema for schema in onnx.defs.get_all_schemas() if schema.domain == ""}

SCHEMAS_SINCE = {
    name: min(schema.since_version for schema in onnx.defs.get_all_schemas_with_history() if schema.name == name)
    for name in SCHEMAS
}


def emitted_by(source):
    """The ONNX operators that Python code records: `op.Add(...)`, or a call with the operator's name, "Add"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id.startswith("op"):
            found.add(node.attr)
        elif isinstance(node, ast.Call):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found & SCHEMAS.keys()


def emitted_by_torch():
    """What torch's translation emits: its library of operators, its control flow, the functions of torch.onnx.ops."""
    modules = [
        import_module(f"{package.__name__}.{found.name}")
        for package in (torchlib, torchs_own)
        for found in iter_modules(package.__path__)
    ]
    emitted = set().union(*(emitted_by(inspect.getsource(module)) for module in modules))
    functions = {name.replace("_", "") for name in torch.onnx.ops.__all__}
    return emitted | {name for name in SCHEMAS if name.lower() in functions}


def emitted_by_odelet():
    return set().union(*(emitted_by(path.read_text()) for path in (ROOT / "exporter").rglob("*.py")))


def test_the_list_is_what_is_emitted_and_no_more():
    emitted = emitted_by_torch()
    assert {"If", "Loop", "Scan", "RotaryEmbedding", "Conv", "SequenceAt"} <= emitted
    assert emitted_by_odelet() <= OPERATORS
    assert (emitted | emitted_by_odelet()) - RANDOM - SEQUENCES == OPERATORS


def test_each_operator_is_one_of_onnx_in_the_opsets_of_exports():
    for name in OPERATORS:
        known = [onnx.defs.get_schema(name, opset) for opset in OPSETS if SCHEMAS_SINCE[name] <= opset]
        assert not all(schema.deprecated for schema in known), name  # and there is one, or `all` would hold


def test_each_output_of_each_operator_can_be_a_tensor_of_numbers():
    numbers = {"tensor(float)", "tensor(int64)", "tensor(int32)", "tensor(bool)", "tensor(uint8)"}
    for name in OPERATORS:
        for output in SCHEMAS[name].outputs:
            assert set(output.types) & numbers, (name, output.name)


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "tests" / "whole" / "artifacts-0.1").glob("*/")), ids=lambda f: f.name
)
def test_old_artifacts_use_operators_of_the_list(folder):
    for file in folder.glob("*.onnx"):
        check_operators(file.name, scan(file.read_bytes(), name=file.name))


def shrinks(x):
    x = torch.onnx.ops.symbolic("Shrink", (x,), {"lambd": 0.1}, dtype=x.dtype, shape=x.shape, version=1)  # HERE
    return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]


def test_a_model_that_needs_another_operator_is_refused_with_its_line(tmp_path):
    lines, first = inspect.getsourcelines(shrinks)
    line = first + next(i for i, text in enumerate(lines) if "# HERE" in text)
    with pytest.raises(
        CaptureError, match=r"found: a line that becomes ONNX's Shrink, which odelet does not run"
    ) as raised:
        export(shrinks, (torch.ones(2, 3),), tmp_path / "out", steps=2)
    assert f'{Path(__file__).name}", line {line}\n' in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_export_that_the_runtime_would_refuse_is_not_written(tmp_path):
    x = ir.val("x", ir.DataType.FLOAT, [2, 2])
    equation = ir.AttrString("equation", "ab->ab".ljust(600))
    node = ir.Node("", "Einsum", [x], [equation])
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = "y", x.shape, x.type
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 20}, name="g")
    lowered = LoweredModel({"model.onnx": ir.Model(graph, ir_version=10)}, [RunStep(run="model.onnx")], [])
    with pytest.raises(
        ExportError, match=r"(?s)would not load this export: model.onnx: .*'equation' of 'Einsum'.*artifact.md"
    ):
        write_graphs(lowered, affine_card(solves=()), tmp_path)
