"""Weights in fewer bits: what is stored, what the graph computes with it, and what stays as it is."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from odelet.artifact.weights import FLOAT16, INT8, INT8_PRODUCTS, STORED
from odelet_export.graphs.stored_weights import FEWEST, quantized, store_weights

RNG = np.random.default_rng(0)
# Each product with a weight: the shape of x, the shape of the weight, the place of the weight, the attributes.
PRODUCTS = {
    "MatMul": ("MatMul", (5, 40), (40, 30), 1, {}),
    "MatMul of many": ("MatMul", (2, 5, 40), (40, 30), 1, {}),
    "MatMul from the left": ("MatMul", (40, 6), (30, 40), 0, {}),
    "Gemm": ("Gemm", (5, 40), (40, 30), 1, {}),
    "Gemm turned": ("Gemm", (5, 40), (30, 40), 1, {"transB": 1}),
    "Gemm scaled": ("Gemm", (5, 40), (40, 30), 1, {"alpha": 2.0}),
    "Conv": ("Conv", (2, 16, 8, 8), (24, 16, 3, 3), 1, {"pads": [1, 1, 1, 1]}),
    "Conv in groups": ("Conv", (2, 16, 8, 8), (24, 8, 3, 3), 1, {"group": 2, "strides": [2, 2]}),
    "ConvTranspose": ("ConvTranspose", (2, 16, 8, 8), (16, 24, 2, 2), 1, {"strides": [2, 2]}),
    "Gather": ("Gather", None, (50, 40), 0, {}),
}


def initializer(name, array):
    tensor = ir.tensor(array, name=name)
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)


def model_of(case, weight, bias):
    kind, shape, _, place, attributes = PRODUCTS[case]
    dtype = ir.DataType.INT64 if shape is None else ir.DataType.FLOAT
    x = ir.Value(name="x", type=ir.TensorType(dtype), shape=ir.Shape([3] if shape is None else shape))
    held = {"w": initializer("w", weight)}
    inputs = [x, held["w"]] if place == 1 else [held["w"], x]
    if kind in ("Gemm", "Conv", "ConvTranspose"):
        held["b"] = initializer("b", bias)
        inputs.append(held["b"])
    node = ir.node(kind, inputs, attributes)
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [node.outputs[0]], nodes=[node], initializers=list(held.values()), opset_imports={"": 20})
    return ir.Model(graph, ir_version=9)


def run(model, x):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(ir.to_proto(model).SerializeToString(), options).run(None, {"x": x})[0]


def arrays_of(case):
    _, shape, weight, _, _ = PRODUCTS[case]
    x = np.array([0, 7, 49]) if shape is None else RNG.normal(size=shape).astype("f")
    outputs = weight[1] if case in ("MatMul", "MatMul of many", "Gemm", "Gemm scaled", "ConvTranspose") else weight[0]
    return x, RNG.normal(size=weight).astype("f"), RNG.normal(size=outputs).astype("f")


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("case", PRODUCTS)
def test_a_product_is_that_of_the_stored_weight(case, kind):
    x, weight, bias = arrays_of(case)
    model = model_of(case, weight, bias)
    exact = run(model, x)
    done = store_weights({"g": model}, kind)
    got = run(model, x)
    assert (done.weights, done.before) == (1, weight.nbytes)
    assert done.after <= weight.nbytes / 2 if kind == FLOAT16 else done.after < weight.nbytes / 3
    assert (done.products > 0) == (kind == INT8_PRODUCTS and case in CASES_IN_INT8)
    assert got.shape == exact.shape
    if kind == FLOAT16:
        expected = run(model_of(case, weight.astype("f2").astype("f"), bias), x)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    # Each error of a weight is at most half a unit of its scale, and each of x half of x's: 254 or 126, and 255 units.
    scale = np.abs(exact).max()
    assert 0 < np.abs(got - exact).max() < {FLOAT16: 1e-3, INT8: 1e-2, INT8_PRODUCTS: 4e-2}[kind] * scale


CASES_IN_INT8 = ("MatMul", "MatMul of many", "Gemm", "Gemm turned")


@pytest.mark.parametrize("case", CASES_IN_INT8)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_in_int8(case, bad):
    x, weight, bias = arrays_of(case)
    model = model_of(case, weight, bias)
    store_weights({"g": model}, INT8_PRODUCTS)
    x.flat[0] = bad
    exact = run(model_of(case, weight, bias), x)
    got = run(model, x)
    assert not np.isfinite(got[~np.isfinite(exact)]).any()


def test_integers_times_the_scale_are_the_weight_up_to_half_a_unit():
    weight = RNG.normal(size=(7, 5)).astype("f") * np.array([1e-30, 1, 1e5, 0, 3], "f")
    for axis in (0, 1):
        numbers, scale = quantized(weight, axis, largest=127)
        assert numbers.dtype == np.int8 and numbers.min() >= -127
        assert (np.abs(numbers * scale - weight) <= 0.5001 * scale).all()


@pytest.mark.parametrize("kind", STORED)
def test_what_is_no_weight_stays(kind):
    """A small matrix, a long row, a matrix that is added, and what float16 cannot hold."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([32, 32]))
    held = [
        initializer("small", np.ones((32, 31), "f")),
        initializer("added", RNG.normal(size=(32, 31)).astype("f")),
        initializer("times", np.linspace(0, 1, FEWEST * 2, dtype="f")),
        initializer("large", np.full((31, FEWEST), np.inf if kind != FLOAT16 else 1e5, "f")),
    ]
    product = ir.node("MatMul", [x, held[0]])
    add = ir.node("Add", [product.outputs[0], held[1]])
    last = ir.node("MatMul", [add.outputs[0], held[3]])
    index = ir.node("Constant", [], {"value": ir.tensor(np.array(5))})
    time = ir.node("Gather", [held[2], index.outputs[0]])
    end = ir.node("Mul", [last.outputs[0], time.outputs[0]])
    graph = ir.Graph([x], [end.outputs[0]], nodes=[product, add, last, index, time, end], initializers=held)
    graph.opset_imports[""] = 20
    model = ir.Model(graph, ir_version=9)
    assert store_weights({"g": model}, kind).weights == 0
    assert list(model.graph.initializers) == ["small", "added", "times", "large"]


def test_a_weight_of_two_graphs_counts_once():
    x, weight, bias = arrays_of("Gemm")
    graphs = {name: model_of("Gemm", weight, bias) for name in ("a", "b")}
    done = store_weights(graphs, INT8)
    assert (done.weights, done.before) == (1, weight.nbytes)
    np.testing.assert_array_equal(*(run(model, x) for model in graphs.values()))
