"""The tables of translations and decompositions that are kept between exports are torch's own."""

import pytest
import torch
from torch.onnx._internal.exporter import _decomp
from torch.onnx._internal.exporter._registration import ONNXRegistry

from odelet_export.capture.operators.kept_tables import decompositions, kept_tables


@pytest.fixture(scope="module")
def torchs():
    return ONNXRegistry.from_torchlib(opset_version=18)


def kept(opset=18):
    with kept_tables():
        return ONNXRegistry().from_torchlib(opset_version=opset)


def test_the_table_of_translations_is_torchs(torchs):
    ours = kept()
    assert ours.opset_version == torchs.opset_version and list(ours.functions) == list(torchs.functions)
    for operator, found in torchs.functions.items():
        assert [
            (one.onnx_function, one.fx_target, one.is_complex, one.opset_introduced, str(one.signature))
            for one in ours.functions[operator]
        ] == [
            (one.onnx_function, one.fx_target, one.is_complex, one.opset_introduced, str(one.signature))
            for one in found
        ]


def test_a_translation_that_an_export_adds_is_not_kept():
    target = torch.ops.aten.sin.default
    count = len(kept().get_decomps(target))
    kept().register_op(target, lambda x: x)
    assert len(kept().get_decomps(target)) == count


def test_a_table_is_kept_for_each_opset_and_torchs_function_is_put_back():
    before = ONNXRegistry.__dict__["from_torchlib"]
    assert kept(20).opset_version == 20 and kept().opset_version == 18
    assert ONNXRegistry.__dict__["from_torchlib"] is before


def test_the_table_of_decompositions_is_torchs(torchs):
    translated = {*_decomp.get_onnx_implemented_overloads(torchs)}
    ours = decompositions(translated)
    assert {str(op) for op in ours} == {str(op) for op in _decomp.create_onnx_friendly_decomposition_table(translated)}
    ours.clear()
    assert decompositions(translated)
