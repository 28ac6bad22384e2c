"""Nodes that generators of code lack become others with the same results."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from odelet_export.targets.build.equal_nodes import equal_nodes
from odelet_export.targets.build.instructions import Constant, Seen, Value

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
LAST = np.iinfo(np.int64).max


def answers(nodes, constants):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)
    result = onnx.ValueInfoProto(name="y")
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "graph", [value], [result], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return ReferenceEvaluator(model).run(None, {"x": X})[0]


def others(node, constants):
    """The nodes in the place of one that reads x, and their constants."""
    seen = [Seen(Value("x", X.dtype, X.size), X.shape)]
    seen += [Seen(Constant(name, constants[name]), constants[name].shape) for name in node.input[1:]]
    return equal_nodes(node, seen)


@pytest.mark.parametrize(
    "starts, ends, axes, steps",
    [
        ([-1], [-LAST], [1], [-1]),
        ([LAST], [-LAST - 1], [0], [-1]),
        ([3], [0], [-1], [-2]),
        ([4, 0], [-6, 3], [2, 0], [-3, 1]),
        ([-1, -1, -1], [0, 0, 0], [0, 1, 2], [-1, -2, -1]),
    ],
)
def test_a_slice_backward_takes_the_same_elements(starts, ends, axes, steps):
    constants = dict(zip(("starts", "ends", "axes", "steps"), map(np.array, (starts, ends, axes, steps)), strict=True))
    node = helper.make_node("Slice", ["x", *constants], ["y"])
    nodes, more = others(node, constants)
    assert {one.op_type for one in nodes} == {"Gather"}
    # As numpy has it; onnx's reference does not take all of these limits.
    slices = [slice(None)] * 3
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        slices[axis] = slice(start, end, step)
    np.testing.assert_array_equal(answers(nodes, more), X[tuple(slices)])


@pytest.mark.parametrize("pads", [[0, -1, 0, 2, 1, 0], [-1, -1, -1, -1, -1, -1], [1, 0, -2, 0, -3, 4]])
def test_a_crop_by_a_padding_is_a_slice(pads):
    constants = {"pads": np.array(pads), "value": np.float32([7]).reshape(())}
    nodes, more = others(helper.make_node("Pad", ["x", *constants], ["y"], mode="constant"), constants)
    assert [one.op_type for one in nodes] == ["Slice", "Pad"]
    begins, ends = pads[:3], pads[3:]
    crop = tuple(slice(max(-b, 0), n + min(e, 0)) for b, e, n in zip(begins, ends, X.shape, strict=True))
    widths = [(max(b, 0), max(e, 0)) for b, e in zip(begins, ends, strict=True)]
    expected = np.pad(X[crop], widths, constant_values=7)
    np.testing.assert_array_equal(answers(nodes, {**more, "value": constants["value"]}), expected)


@pytest.mark.parametrize("equation", ["ijk,jl->ilk", "ijk,kij->ji", "abc,d->dcab", "ijk,ijk->", "abc,bca->cab"])
def test_an_einsum_of_two_arrays_is_a_product_of_matrices(equation):
    first, second, _ = equation.replace("->", ",").split(",")
    sizes = dict(zip(first, X.shape, strict=True))
    y = np.random.default_rng(0).normal(size=[sizes.get(one, 2) for one in second]).astype(np.float32)
    node = helper.make_node("Einsum", ["x", "other"], ["y"], equation=equation)
    nodes, constants = others(node, {"other": y})
    assert "Einsum" not in {one.op_type for one in nodes}
    result = answers(nodes, {**constants, "other": y})
    np.testing.assert_allclose(result, np.einsum(equation, X, y), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("equation", ["ijk,jl->il", "iij,j->i", "ijk->kji"])
def test_other_einsums_stay(equation):
    node = helper.make_node("Einsum", ["x", "other"][: 1 + equation.count(",")], ["y"], equation=equation)
    seen = [Seen(Value("x", X.dtype, X.size), X.shape)] * len(node.input)
    assert equal_nodes(node, seen) is None


@pytest.mark.parametrize("operator", ["GRU", "LSTM", "RNN"])
def test_the_usual_direction_of_a_recurrent_layer_is_not_said(operator):
    node = helper.make_node(operator, ["x"], ["y"], direction="forward", hidden_size=4)
    (made,), _ = equal_nodes(node, [None])
    assert [one.name for one in made.attribute] == ["hidden_size"]
    assert equal_nodes(helper.make_node(operator, ["x"], ["y"], direction="reverse"), [None]) is None


def test_other_nodes_stay():
    forward = {"starts": np.array([0]), "ends": np.array([2]), "axes": np.array([0]), "steps": np.array([1])}
    assert others(helper.make_node("Slice", ["x", *forward], ["y"]), forward) is None
    assert others(helper.make_node("Pad", ["x", "pads"], ["y"]), {"pads": np.array([1, 0, 0, 0, 0, 1])}) is None
    assert others(helper.make_node("Tanh", ["x"], ["y"]), {}) is None
