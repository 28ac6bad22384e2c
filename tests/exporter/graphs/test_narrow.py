"""Float64 values become float32 where they are float32 numbers in another type, and no number changes."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from odelet_export.graphs.narrow import narrow

RNG = np.random.default_rng(0)
X = RNG.normal(size=5).astype(np.float32)
C = np.array([0.5, -1.0, np.inf, np.nan, 3.0])


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], **attributes)


TO_DOUBLE = node("Cast", ["x"], "d", to=TensorProto.DOUBLE)
# Nodes after a cast of x to float64, with the type of the result `out`.
EXACT = {
    "a report": ([], "d", TensorProto.DOUBLE),
    "a choice": ([node("Less", ["d", "c"], "b"), node("Where", ["b", "d", "c"], "out")], "out", TensorProto.DOUBLE),
    "bounds": ([node("Max", ["d", "c"], "m"), node("Min", ["m", "c"], "out")], "out", TensorProto.DOUBLE),
    "moves": ([node("Concat", ["d", "c"], "m", axis=0), node("Neg", ["m"], "out")], "out", TensorProto.DOUBLE),
    "back": ([node("Abs", ["d"], "m"), node("Cast", ["m"], "out", to=TensorProto.FLOAT)], "out", TensorProto.FLOAT),
    "a count": (
        [node("IsNaN", ["d"], "b"), node("Cast", ["b"], "out", to=TensorProto.INT64)],
        "out",
        TensorProto.INT64,
    ),
    "a constant": ([node("Cast", ["pi"], "out", to=TensorProto.FLOAT)], "out", TensorProto.FLOAT),
}
ROUNDED = {
    "a product": ([node("Mul", ["d", "c"], "m"), node("Cast", ["m"], "out", to=TensorProto.FLOAT)], TensorProto.FLOAT),
    "a comparison with pi": ([node("Less", ["d", "pi"], "out")], TensorProto.BOOL),
    "a choice of pi": ([node("Where", ["t", "d", "pi"], "out")], TensorProto.DOUBLE),
    "a whole number": ([node("Cast", ["i"], "out", to=TensorProto.DOUBLE)], TensorProto.DOUBLE),
    "a value of an If": (
        [
            helper.make_node(
                "If",
                ["t"],
                ["out"],
                **{
                    f"{name}_branch": helper.make_graph(
                        [node("Neg", ["d"], f"{name}_d")],
                        name,
                        [],
                        [helper.make_tensor_value_info(f"{name}_d", TensorProto.DOUBLE, [5])],
                    )
                    for name in ("then", "else")
                },
            )
        ],
        TensorProto.DOUBLE,
    ),
}


def graph(nodes, output, kind):
    tensors = {"c": C, "pi": np.full(5, np.pi), "i": np.arange(5) + 2**40, "t": np.array(True)}
    proto = helper.make_model(
        helper.make_graph(
            [TO_DOUBLE, *nodes],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5])],
            [helper.make_tensor_value_info(output, kind, None)],
            [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    return onnx.shape_inference.infer_shapes(proto)


def run(proto):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


def doubles(model):
    values = {value for one in model.graph.all_nodes() for value in (*one.inputs, *one.outputs) if value is not None}
    return {value.name for value in values if value.dtype == ir.DataType.DOUBLE}


@pytest.mark.parametrize("name", EXACT)
def test_numbers_that_are_moved_are_equal_in_float32(name):
    proto = graph(*EXACT[name])
    model = ir.from_proto(proto)
    narrow(model)
    assert not doubles(model)
    after = run(ir.to_proto(model))
    assert after.dtype != np.float64
    np.testing.assert_array_equal(after.astype(np.float64), run(proto).astype(np.float64))


@pytest.mark.parametrize("name", ROUNDED)
def test_what_rounds_in_float64_stays(name):
    nodes, kind = ROUNDED[name]
    proto = graph(nodes, "out", kind)
    model = ir.from_proto(proto)
    narrow(model)
    assert doubles(model)
    after, before = run(ir.to_proto(model)), run(proto)
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(after, before)
