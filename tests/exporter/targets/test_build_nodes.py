"""Nodes that generators of code lack become others with the same results."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from odelet_export.targets.build.einsums import as_products
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


EQUATIONS = [
    "ijk,jl->ilk",
    "ijk,kij->ji",
    "abc,d->dcab",
    "ijk,ijk->",
    "abc,bca->cab",
    "ijk,jl->il",
    "ijk->kj",
    "ijk,jl",
]
# Products of more than two arrays, with indices of one array alone, of all of them, and of the result.
EQUATIONS += ["ijk,kl,lm->ijm", "ijk,j,k->i", "ijk,ik,ij->ijk", "ijk,l,m->m", "ijk,kl,lj,i->", "ijk,ijk,ijk->kj"]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_an_einsum_is_products_of_matrices(equation):
    first, *parts = equation.partition("->")[0].split(",")
    sizes = dict(zip(first, X.shape, strict=True))
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=[sizes.get(one, 2) for one in part]).astype(np.float32) for part in parts]
    given = {f"other_{place}": array for place, array in enumerate(arrays)}
    nodes, constants = others(helper.make_node("Einsum", ["x", *given], ["y"], equation=equation), given)
    assert {"Einsum"}.isdisjoint(one.op_type for one in nodes)
    result = answers(nodes, {**constants, **given})
    np.testing.assert_allclose(result, np.einsum(equation, X, *arrays), rtol=1e-5, atol=1e-4)


def test_the_smallest_products_of_an_einsum_come_first():
    shapes = {"ij": (2, 1000), "jk": (1000, 1000), "kl": (1000, 3)}
    made = as_products("ij,jk,kl->il", list(shapes), list(shapes.values()), "y")
    product = next(one for one in made.nodes if one.op_type == "MatMul")
    sources = {one.output[0]: one.input[0] for one in made.nodes}
    # The large matrix meets one of the two small ones, and its product the other one.
    assert [sources[one] for one in product.input] == ["ij", "jk"]


@pytest.mark.parametrize("equation", ["iij,j->i", "...j,j->...", "ijk,jl->ill"])
def test_other_einsums_stay(equation):
    node = helper.make_node("Einsum", ["x", "other"][: 1 + equation.count(",")], ["y"], equation=equation)
    seen = [Seen(Value("x", X.dtype, X.size), X.shape)] * len(node.input)
    assert equal_nodes(node, seen) is None


@pytest.mark.parametrize("power", [2, 3])
def test_a_small_power_is_products(power):
    exponent = {"power": np.array(power, np.float32)}
    nodes, constants = others(helper.make_node("Pow", ["x", "power"], ["y"]), exponent)
    assert {one.op_type for one in nodes} == {"Mul"}
    np.testing.assert_array_equal(answers(nodes, constants), X**power)


@pytest.mark.parametrize("power", [np.float32(0.5), np.float32([2]), np.float32(4)])
def test_other_powers_stay(power):
    assert others(helper.make_node("Pow", ["x", "power"], ["y"]), {"power": np.asarray(power)}) is None


@pytest.mark.parametrize("operator", ["GRU", "LSTM", "RNN"])
def test_the_usual_direction_of_a_recurrent_layer_is_not_said(operator):
    node = helper.make_node(operator, ["x"], ["y"], direction="forward", hidden_size=4)
    (made,), _ = equal_nodes(node, [None])
    assert [one.name for one in made.attribute] == ["hidden_size"]


@pytest.mark.parametrize("outputs", [["y", "last"], ["y"], ["", "last"]], ids=str)
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("operator, gates", [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_other_directions_are_layers_that_read_forwards(operator, gates, direction, outputs):
    count, hidden = (2 if direction == "bidirectional" else 1), 4
    generator = np.random.default_rng(0)

    def drawn(*shape):
        return generator.normal(size=shape).astype(np.float32)

    series = drawn(5, 3, 2)
    weights = {
        "w": drawn(count, gates * hidden, 2),
        "r": drawn(count, gates * hidden, hidden),
        "b": drawn(count, 2 * gates * hidden),
        "first": drawn(count, 3, hidden),
    }
    names = ["x", "w", "r", "b", "", "first"]
    node = helper.make_node(operator, names, outputs, direction=direction, hidden_size=hidden)
    seen = [Seen(Value("x", series.dtype, series.size), series.shape), *[None] * 5]
    nodes, constants = equal_nodes(node, seen)
    assert all(one.name != "direction" for made in nodes for one in made.attribute)
    found = [
        run(made, {"x": series}, {**weights, **more}, [name for name in outputs if name])
        for made, more in (([node], {}), (nodes, constants))
    ]
    for before, after in zip(*found, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-7)


def test_series_of_given_lengths_stay():
    node = helper.make_node("GRU", ["x", "w", "r", "", "lengths"], ["y"], direction="reverse", hidden_size=4)
    seen = [Seen(Value("x", X.dtype, X.size), X.shape), None, None, None, Seen(Value("n", np.dtype(np.int32), 3), (3,))]
    assert equal_nodes(node, seen) is None


def run(nodes, inputs, stored, outputs):
    graph = helper.make_graph(
        nodes,
        "nodes",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name, x in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(x, name) for name, x in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def test_other_nodes_stay():
    forward = {"starts": np.array([0]), "ends": np.array([2]), "axes": np.array([0]), "steps": np.array([1])}
    assert others(helper.make_node("Slice", ["x", *forward], ["y"]), forward) is None
    assert others(helper.make_node("Pad", ["x", "pads"], ["y"]), {"pads": np.array([1, 0, 0, 0, 0, 1])}) is None
    assert others(helper.make_node("Tanh", ["x"], ["y"]), {}) is None


# A weight for X with 4 channels, attributes, and whether it becomes a product.
SPREAD = [
    ((4, 3, 2), {"strides": [2]}, True),
    ((4, 1, 3), {"strides": [3], "pads": [0, 0], "dilations": [1]}, True),
    ((4, 2, 1), {}, True),
    ((4, 3, 2), {}, False),
    ((4, 3, 2), {"strides": [3]}, False),
    ((4, 3, 2), {"strides": [2], "pads": [1, 0]}, False),
    ((4, 3, 2), {"strides": [2], "output_padding": [1]}, False),
    ((4, 3, 2), {"strides": [2], "group": 2}, False),
    ((4, 3, 2), {"strides": [2], "dilations": [2]}, False),
    ((4, 3, 2), {"strides": [2], "auto_pad": "SAME_UPPER"}, False),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape, attributes, product", SPREAD)
def test_a_transposed_convolution_without_overlaps_is_a_product(shape, attributes, product, bias):
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=shape).astype(np.float32)}
    channels = shape[1] * attributes.get("group", 1)
    constants |= {"b": rng.normal(size=channels).astype(np.float32)} if bias else {}
    node = helper.make_node("ConvTranspose", ["x", *constants], ["y"], **attributes)
    made = others(node, constants)
    assert (made is not None) == product
    if made is not None:
        np.testing.assert_allclose(answers(*made), answers([node], constants), rtol=2e-6, atol=2e-5)


def test_a_transposed_convolution_of_images_is_a_product():
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=size).astype(np.float32) for size in ((2, 3, 4, 5), (3, 2, 3, 2), (2,)))
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[3, 2])
    seen = [Seen(Value("x", x.dtype, x.size), x.shape), *(Seen(Constant("", one), one.shape) for one in (w, b))]
    found = []
    for nodes, constants in (equal_nodes(node, seen), ([node], {"w": w, "b": b})):
        stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
        graph = helper.make_graph(nodes, "graph", [given], [onnx.ValueInfoProto(name="y")], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        found.append(ort.InferenceSession(_typed(model)).run(None, {"x": x})[0])
    assert found[0].shape == (2, 2, 12, 10)
    np.testing.assert_allclose(*found, rtol=2e-6, atol=2e-6)


def _typed(model):
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return model.SerializeToString()
