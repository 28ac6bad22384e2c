"""The version of ONNX's file format that each opset gets, and what the card says that the graphs need."""

import onnx
import onnx_ir as ir
import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet_export import export
from odelet_export.pipeline.settings import OPSETS
from odelet_export.targets.onnx_files import ir_version_of

# From onnx's table of releases; 23 came with 11, which no operator of ours needs.
IR_OF_OPSET = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 10}


def model(x):
    return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]


def graph(opset, **metadata):
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    node = ir.node("Neg", [x], metadata_props=metadata)
    return ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": opset}), ir_version=10)


def test_each_opset_gets_the_lowest_ir_version():
    assert {opset: ir_version_of(graph(opset)) for opset in OPSETS} == IR_OF_OPSET


def test_metadata_of_nodes_needs_ir_version_10():
    assert {ir_version_of(graph(opset, note="kept")) for opset in OPSETS} == {10}


@pytest.mark.parametrize(("opset", "engine"), [(18, (1, 20)), (23, (1, 23))])
def test_an_export_writes_it_and_the_card_says_it(opset, engine, tmp_path):
    exported = export(model, (torch.ones(2),), tmp_path / "out", form="driven", opset=opset, samples=1)
    files = list((tmp_path / "out").glob("*.onnx"))
    assert len(files) > 1
    for path in files:
        written = onnx.load(path)
        assert [entry.version for entry in written.opset_import] == [opset]
        assert written.ir_version == IR_OF_OPSET[opset]
    needs = exported.card.needs
    assert (needs.version, needs.opset, needs.ir) == (engine, opset, IR_OF_OPSET[opset])
    assert odelet.load(tmp_path / "out").card.needs == needs
