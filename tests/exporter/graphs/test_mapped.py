"""Nodes mapped over a new first axis: each operator gives for all values at once what it gives for each."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from odelet_export.graphs.mapped import RULES, mapped_values
from odelet_export.graphs.scope import Scope, Value

RNG = np.random.default_rng(0)
W, ROW, CUBE = (RNG.normal(size=shape).astype(np.float32) for shape in ((4, 5), (4,), (2, 3, 4)))
TRUE = np.array([True, False, True, False])
# fmt: off
UNARY = (
    "Abs", "Ceil", "Celu", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign",
    "Tanh",
)
# fmt: on
LOGICAL = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
# Functions of a scope, a value x (3, 4) that is mapped, and a function that makes constants.
CASES = {
    **{name: lambda s, x, c, name=name: s.call(name, x) for name in UNARY},
    **{name: lambda s, x, c, name=name: s.call(name, x, c(CUBE)) for name in ("Add", "Sub", "Mul", "Min", "Max")},
    **{name: lambda s, x, c, name=name: s.call("Where", s.call(name, x, c(ROW)), x, c(CUBE)) for name in LOGICAL},
    **{
        name: lambda s, x, c, name=name: s.call(
            "Where", s.call("Not", s.call(name, s.call("Less", x, c(ROW)), c(TRUE))), x, c(ROW)
        )
        for name in ("And", "Or")
    },
    "Log": lambda s, x, c: s.call("Log", s.call("Sqrt", s.call("Exp", x))),
    "Div of ranks": lambda s, x, c: s.call("Div", c(CUBE), s.call("Exp", x)),
    "Pow": lambda s, x, c: s.call("Pow", s.call("Abs", x), c(np.float32(1.5))),
    "PRelu": lambda s, x, c: s.call("PRelu", x, c(ROW)),
    "Clip": lambda s, x, c: s.call("Clip", x, c(np.float32(-0.5)), None),
    "Cast": lambda s, x, c: s.call("Cast", s.call("Cast", x, to=ir.DataType.DOUBLE), to=ir.DataType.FLOAT),
    "Unsqueeze": lambda s, x, c: s.call("Add", s.call("Unsqueeze", x, c(np.array([0, -2]))), c(CUBE[0])),
    "Squeeze": lambda s, x, c: s.call("Squeeze", s.call("Unsqueeze", x, c(np.array([1]))), c(np.array([1]))),
    "ReduceMean": lambda s, x, c: s.call("ReduceMean", x, c(np.array([0])), keepdims=0),
    "ReduceSum": lambda s, x, c: s.call("ReduceSum", x, c(np.array([-1]))),
    "ReduceMax": lambda s, x, c: s.call("ReduceMax", x, c(np.array([0, 1])), keepdims=0),
    "Gemm": lambda s, x, c: s.call("Gemm", x, c(W), c(W[0])),
    "Gemm transposed": lambda s, x, c: s.call("Gemm", x, c(W.T), transB=1, alpha=0.5),
    "Gemm of what rows give": lambda s, x, c: s.call(
        "Gemm", s.call("Mul", s.call("Tanh", s.call("Gemm", x, c(W), c(W[0]))), c(W[1])), c(W.T)
    ),
    "Gemm beside one row": lambda s, x, c: s.call(
        "Add", s.call("Gemm", x, c(W[:, :4])), s.call("Gemm", s.call("ReduceSum", x, c(np.array([0]))), c(W[:, :4]))
    ),
    "Gemm beside a constant of its size": lambda s, x, c: s.call("Sub", s.call("Gemm", x, c(W[:, :4])), c(CUBE[0])),
    "MatMul": lambda s, x, c: s.call("MatMul", x, c(W)),
    "MatMul of a row": lambda s, x, c: s.call("MatMul", s.call("ReduceSum", x, c(np.array([0])), keepdims=0), c(W)),
    "MatMul from the left": lambda s, x, c: s.call("MatMul", c(CUBE[:, :, :3]), x),
    "MatMul of two": lambda s, x, c: s.call("MatMul", x, s.call("Transpose", x)),
    "Concat": lambda s, x, c: s.call("Concat", c(CUBE[0]), x, s.call("Neg", x), axis=1),
    "Reshape": lambda s, x, c: s.call("Reshape", x, c(np.array([2, -1]))),
    "Reshape with a size kept": lambda s, x, c: s.call("Reshape", x, c(np.array([0, 2, -1]))),
    "Expand": lambda s, x, c: s.call("Expand", s.call("ReduceSum", x, c(np.array([1]))), c(np.array([2, 1, 4]))),
    "Transpose": lambda s, x, c: s.call("Transpose", x, perm=[1, 0]),
    "Gather": lambda s, x, c: s.call("Gather", x, c(np.array([2, 0])), axis=1),
    "Gather by values": lambda s, x, c: s.call("Gather", c(W), s.call("Cast", s.call("Greater", x, c(ROW)), to=7)),
    "Slice": lambda s, x, c: s.call("Slice", x, c(np.array([1])), c(np.array([3])), c(np.array([0]))),
    "Split": lambda s, x, c: s.call("Split", x, axis=1, num_outputs=2, outputs=2)[1],
    "Softmax": lambda s, x, c: s.call("Softmax", x, axis=0),
    "LayerNormalization": lambda s, x, c: s.call("LayerNormalization", x, c(ROW), axis=-1),
}
LEFT_OUT = {
    "an operator of no rule": lambda s, x, c: s.call("CumSum", x, c(np.array(0))),
    "a Gemm of a transposed input": lambda s, x, c: s.call("Gemm", x, c(CUBE[0]), transA=1),
    "a product with a mapped weight": lambda s, x, c: s.call("Gemm", c(W.T), x, transB=1),
    "a slice of the last axes": lambda s, x, c: s.call("Slice", x, c(np.array([1])), c(np.array([3]))),
}
SIZE = 6


def built(case):
    """The model that maps a function, with what stands for its result; and the model of the function itself."""
    each = ir.Graph([ir.val("x", ir.DataType.FLOAT, [3, 4])], [], nodes=[], opset_imports={"": 20})
    scope = Scope.of(each)
    result = case(scope, Value(each.inputs[0], scope), scope.constant)
    each.outputs.append(result.ir)
    together = ir.Graph([ir.val("x", ir.DataType.FLOAT, [SIZE, 3, 4])], [], nodes=[], opset_imports={"": 20})
    for value in each.initializers.values():
        together.register_initializer(ir.Value(name=value.name, const_value=value.const_value, shape=value.shape))
    mapped = mapped_values(
        list(each),
        {each.inputs[0]: Value(together.inputs[0], Scope.of(together))},
        {value: value for value in each.initializers.values()},
        Scope.of(together),
        size=SIZE,
    )
    return each, together, mapped.get(result.ir)


def run(graph, x):
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=10))
    (answer,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return answer


@pytest.mark.parametrize("name", CASES)
def test_all_values_at_once_are_each_value(name):
    each, together, mapped = built(CASES[name])
    assert mapped is not None
    together.outputs.append(mapped.ir)
    x = RNG.normal(size=(SIZE, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(together, x), np.stack([run(each, row) for row in x]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_cannot_be_mapped_is_left_out(name):
    assert built(LEFT_OUT[name])[2] is None


def test_every_rule_has_a_case():
    used = {node.op_type for case in CASES.values() for node in built(case)[0]}
    assert set(RULES) <= used
