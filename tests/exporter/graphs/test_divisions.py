"""Whole numbers are divided as torch divides them, and no divisor ends the process."""

import json
import subprocess
import sys

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet.engine.failures import DIVIDED_BY_ZERO
from odelet_export import export
from odelet_export.graphs.guards import add_guards

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def model_of(op_type, dtype, *, divisor=None, within=None):
    """c = op(a, b). divisor: a constant in place of the input b. within: the operator in whose body the division is."""
    kind = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    a, b = (ir.Value(name=name, type=kind, shape=ir.Shape([None])) for name in "ab")
    inputs = [a, b]
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": 20}, name="graph")
    if divisor is not None:
        array = np.array(divisor, dtype)
        b = ir.Value(name="known", type=kind, shape=ir.Shape(array.shape), const_value=ir.tensor(array, name="known"))
        graph.register_initializer(b)
    node = ir.Node("", op_type, [a, b], name="division")
    node.outputs[0].type, node.outputs[0].name = kind, "c"
    if within is None:
        graph.append(node)
        graph.outputs.append(node.outputs[0])
        return ir.Model(graph, ir_version=10)
    yes = ir.Node("", "Constant", [], [ir.AttrTensor("value", ir.tensor(np.array(True)))])
    one = ir.Node("", "Constant", [], [ir.AttrTensor("value", ir.tensor(np.array(1)))])
    yes.outputs[0].name, one.outputs[0].name = "yes", "one"
    graph.extend([yes, one])
    if within == "If":
        other = ir.Node("", "Add", [a, a])
        other.outputs[0].type, other.outputs[0].name = kind, "other"
        branches = [ir.Graph([], [x.outputs[0]], nodes=[x], name=name) for x, name in ((node, "then"), (other, "else"))]
        attributes = [ir.AttrGraph("then_branch", branches[0]), ir.AttrGraph("else_branch", branches[1])]
        outer = ir.Node("", "If", [yes.outputs[0]], attributes)
    else:
        counters = [ir.val("i", ir.DataType.INT64, []), ir.val("go", ir.DataType.BOOL, [])]
        on = ir.Node("", "Identity", [counters[1]])
        on.outputs[0].name = "on"
        body = ir.Graph(counters, [on.outputs[0], node.outputs[0]], nodes=[on, node], name="body")
        outer = ir.Node("", "Loop", [one.outputs[0], yes.outputs[0]], [ir.AttrGraph("body", body)])
    outer.outputs[0].name = "result"
    outer.outputs[0].type = kind
    graph.append(outer)
    graph.outputs.append(outer.outputs[0])
    return ir.Model(graph, ir_version=10)


def guarded(*args, **kwargs):
    model = model_of(*args, **kwargs)
    add_guards(model)
    return model


def run(model, a, b):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    data = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"a": a, "b": b})[0]


def operators(model):
    return sorted(node.op_type for node in model.graph.all_nodes())


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("op_type", ["Div", "Mod"])
def test_every_pair_of_edges(op_type, dtype):
    info = np.iinfo(dtype)
    edges = sorted({info.min, info.min + 1, info.max, *(x for x in (-3, -2, -1, 0, 1, 2, 7) if x >= info.min)})
    pairs = [(a, b) for a in edges for b in edges if b != 0]
    a, b = (np.array(side, dtype) for side in zip(*pairs, strict=True))
    # ONNX's Div cuts the fraction off; its Mod has the sign of the divisor. Beyond the largest number both go round.
    quotients = [abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1) for x, y in pairs]
    expected = quotients if op_type == "Div" else [x % y for x, y in pairs]
    expected = [(x - info.min) % (info.max - info.min + 1) + info.min for x in expected]
    np.testing.assert_array_equal(run(guarded(op_type, dtype), a, b), np.array(expected, dtype))


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("op_type", ["Div", "Mod"])
def test_a_division_by_zero_is_an_error_that_is_known(op_type, dtype):
    with pytest.raises(Exception, match=f"idx={DIVIDED_BY_ZERO} "):
        run(guarded(op_type, dtype), np.array([5, 6], dtype), np.array([2, 0], dtype))


@pytest.mark.parametrize("within", ["Loop", "If"])
def test_a_division_in_a_body(within):
    low = np.iinfo("int64").min
    model = guarded("Div", "int64", within=within)
    np.testing.assert_array_equal(run(model, np.array([low, 7]), np.array([-1, -1])).ravel(), [low, -7])
    with pytest.raises(Exception, match=f"idx={DIVIDED_BY_ZERO} "):
        run(model, np.array([1]), np.array([0]))


@pytest.mark.parametrize(("divisor", "changed"), [(3, False), ([2, -7], False), (-1, True), ([2, -1], True), (0, True)])
def test_a_known_divisor_is_guarded_only_where_it_may_be_refused(divisor, changed):
    plain, after = (make("Div", "int64", divisor=divisor) for make in (model_of, guarded))
    assert (operators(plain) != operators(after)) is changed


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_numbers_that_are_not_whole_are_left_alone(dtype):
    assert operators(guarded("Div", dtype)) == ["Div"]


class Divides(torch.nn.Module):
    """Divides in the field and outside it."""

    def forward(self, x, a, b):
        def field(t, y):
            return -y * (1 + torch.tanh((a // b + a % b).float() * 1e-2))

        path = odeint(field, x, torch.linspace(0, 1, 3), method="rk4", options={"step_size": 0.25})
        return path, a // b, a % b, torch.fmod(a, b), a // 3, a // -1


CHILD = """
import json, sys
import numpy as np, odelet
folder, divisors = sys.argv[1], json.loads(sys.argv[2])
model = odelet.load(folder)
low = np.iinfo(np.int64).min
for divisor in divisors:
    outputs = model(np.ones(3, np.float32), np.array([low, -7, 7]), np.array([divisor] * 3))
    print(json.dumps([output.tolist() for output in outputs]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["rolled", "driven"])
def test_an_exported_model_divides_as_torch_does(form, tmp_path):
    example = (torch.ones(3), torch.tensor([7, 8, 9]), torch.tensor([2, 3, 4]))
    export(Divides(), example, tmp_path / "out", form=form, samples=1)
    divisors = [-1, 1, -3, 2**62]
    # In a process of its own, so that a division that ends it is a failure of this test alone.
    command = [sys.executable, "-c", CHILD, str(tmp_path / "out"), json.dumps(divisors)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:] or f"ended by signal {-done.returncode}"
    a = torch.tensor([torch.iinfo(torch.int64).min, -7, 7])
    for divisor, line in zip(divisors, done.stdout.splitlines(), strict=True):
        expected = Divides()(torch.ones(3), a, torch.tensor([divisor] * 3))
        got = json.loads(line)
        np.testing.assert_allclose(got[0], expected[0].numpy(), rtol=1e-5)
        for one, other in zip(got[1:], expected[1:], strict=True):
            assert one == other.tolist()
    model = odelet.load(tmp_path / "out")
    with pytest.raises(odelet.InputError, match="a whole number is divided by zero; look at the input 'b'"):
        model(np.ones(3, np.float32), np.array([1, 2, 3]), np.array([1, 0, 3]))
