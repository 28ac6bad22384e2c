"""Whose fault it is that a graph fails in a call: of the values that came, or of the artifact."""

import pickle

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.artifacts import BOOL, F32, I64, node, onnx_model, scalar, value, write
from support.guarded import guarded, tables

import odelet
from odelet import ArtifactError, InputError
from odelet.artifact.card import Card, Tensor
from odelet.artifact.program_steps import RunStep
from odelet.engine.failures import DIVIDED_BY_ZERO, GraphFailed

X = np.arange(6, dtype=np.float32).reshape(2, 3)
KINDS = {"float32": F32, "int64": I64, "bool": BOOL, "int32": TensorProto.INT32}
TABLE = helper.make_tensor("table", F32, [4, 3], np.arange(12.0))


def ints(name, *numbers):
    return helper.make_tensor(name, I64, [len(numbers)], numbers)


def load(folder, nodes, inputs, rank, constants=()):
    """A model that gives y, of so many axes. inputs: dtype and shape of each input."""
    output = Tensor(name="y", dtype="float32", shape=tuple(f"y{axis}" for axis in range(rank)))
    card = Card(
        odelet="0.1.0",
        name="Fails",
        form="unrolled",
        inputs=tuple(Tensor(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in inputs.items()),
        outputs=(output,),
        program=(RunStep(run="model.onnx"),),
    )
    ports = [value(name, KINDS[dtype], list(shape)) for name, (dtype, shape) in inputs.items()]
    model = onnx_model(nodes, ports, [value("y", F32, [None] * rank)], constants, card=card)
    return odelet.load(write(folder, card, {"model.onnx": model}))


ONE, X_SHAPE = ("int64", ("n",)), ("float32", ("a", 3))
ADD = node("Add", "table whole", "y")
# By what fails: nodes, inputs, constants, a call that goes well, one that fails, and what the message says.
OF_VALUES = {
    "Gather": (
        [node("Gather", "table i", "y")],
        {"i": ONE},
        (TABLE,),
        {"i": [3, -4]},
        {"i": [0, 4]},
        "model.onnx: input 'i' holds 4, which is looked up as an index; expected whole numbers up to 3",
    ),
    "Gather from a table beside a longer one": (
        [
            node("Concat", "table table", "longer", axis=0),
            node("Gather", "longer i", "a"),
            node("Gather", "table k", "b"),
            node("Concat", "a b", "y", axis=0),
        ],
        {"i": ONE, "k": ONE},
        (TABLE,),
        {"i": [6], "k": [3]},
        {"i": [6], "k": [5]},
        "model.onnx: input 'k' holds 5, which is looked up as an index; expected whole numbers up to 3",
    ),
    "Gather of a cast": (
        [node("Cast", "i", "j", to=I64), node("Gather", "table j", "y")],
        {"i": ("float32", ("n",))},
        (TABLE,),
        {"i": [3.0]},
        {"i": [9.0]},
        "the inputs lead to the index 9, which is out of range; expected whole numbers up to 3",
    ),
    "GatherND": (
        [node("GatherND", "table i", "y")],
        {"i": ("int64", ("n", 1))},
        (TABLE,),
        {"i": [[1]]},
        {"i": [[1], [7]]},
        "input 'i' holds 7, which is looked up as an index and is out of range",
    ),
    "GatherElements": (
        [node("GatherElements", "table i", "y", axis=0)],
        {"i": ("int64", ("n", 3))},
        (TABLE,),
        {"i": [[1, 2, 3]]},
        {"i": [[1, 2, 9]]},
        "an index is out of range .*look at the input 'i'",
    ),
    "ScatterND": (
        [node("ScatterND", "table i x", "y")],
        {"i": ("int64", ("n", 1)), "x": ("float32", ("n", 3))},
        (TABLE,),
        {"i": [[1]], "x": [[1.0, 2.0, 3.0]]},
        {"i": [[8]], "x": [[1.0, 2.0, 3.0]]},
        "input 'i' holds 8, which is looked up as an index and is out of range",
    ),
    "ScatterElements": (
        [node("ScatterElements", "table i x", "y", axis=0)],
        {"i": ("int64", ("n", 3)), "x": ("float32", ("n", 3))},
        (TABLE,),
        {"i": [[1, 2, 3]], "x": [[1.0, 2.0, 3.0]]},
        {"i": [[1, 2, 5]], "x": [[1.0, 2.0, 3.0]]},
        "input 'i' holds 5, which is looked up as an index; expected whole numbers up to 3",
    ),
    "Div": (
        [*guarded("Div", "i", "j", "k"), node("Cast", "k", "f", to=F32), node("Add", "table f", "y")],
        {"i": ("int64", ()), "j": ("int64", ())},
        (TABLE, *tables()),
        {"i": 4, "j": 3},
        {"i": 4, "j": 0},
        "a whole number is divided by zero; look at the input 'j', which holds 0",
    ),
    "Mod": (
        [*guarded("Mod", "i", "j", "k"), node("Cast", "k", "f", to=F32), node("Add", "table f", "y")],
        {"i": ("int64", ()), "j": ("int64", ())},
        (TABLE, *tables()),
        {"i": 4, "j": 3},
        {"i": 4, "j": 0},
        "a whole number is divided by zero; look at the input 'j', which holds 0",
    ),
    "ConstantOfShape": (
        [node("ConstantOfShape", "i", "y")],
        {"i": ("int64", (2,))},
        (),
        {"i": [1, 2]},
        {"i": [1, -2]},
        "a length, a count or a step is negative, zero or too large .*look at the input 'i'",
    ),
    "Tile": (
        [node("Tile", "table i", "y")],
        {"i": ("int64", (2,))},
        (TABLE,),
        {"i": [1, 2]},
        {"i": [1, -2]},
        "a length, a count or a step",
    ),
    "Slice": (
        [node("Slice", "table zero ends axes i", "y")],
        {"i": ("int64", (1,))},
        (TABLE, ints("zero", 0), ints("ends", 3), ints("axes", 0)),
        {"i": [2]},
        {"i": [0]},
        "a length, a count or a step",
    ),
    "Range": (
        [node("Range", "zero i j", "r"), node("Cast", "r", "f", to=F32), node("Unsqueeze", "f axes", "y")],
        {"i": ("int64", ()), "j": ("int64", ())},
        (scalar("zero", I64, 0), ints("axes", 0)),
        {"i": 4, "j": 1},
        {"i": 4, "j": 0},
        "a length, a count or a step",
    ),
    "Reshape": (
        [node("Reshape", "table i", "y")],
        {"i": ("int64", (2,))},
        (TABLE,),
        {"i": [6, 2]},
        {"i": [-6, -2]},
        "a length, a count or a step",
    ),
}


@pytest.mark.parametrize(("nodes", "inputs", "constants", "good", "bad", "message"), OF_VALUES.values(), ids=OF_VALUES)
def test_values_that_do_not_suit_the_model(tmp_path, capfd, nodes, inputs, constants, good, bad, message):
    model = load(tmp_path, nodes, inputs, 2, constants)
    good, bad = (
        {name: np.array(numbers, inputs[name][0]) for name, numbers in values.items()} for values in (good, bad)
    )
    before = model(**good)
    with pytest.raises(InputError, match=message) as raised:
        model(**bad)
    assert not isinstance(raised.value, ArtifactError)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(model(**good), before)


# What a graph does not support though the card says that it does.
OF_THE_ARTIFACT = {
    "Reshape": ([node("Reshape", "x to", "y")], (ints("to", 3, 3),)),
    "Add": ([node("Add", "x table", "y")], (TABLE,)),
    "MatMul": ([node("Transpose", "x", "z"), node("MatMul", "z table", "y")], (TABLE,)),
    "Concat": ([node("Concat", "x table", "y", axis=1)], (TABLE,)),
    "Expand": ([node("Expand", "x to", "y")], (ints("to", 5, 3),)),
}


@pytest.mark.parametrize(("nodes", "constants"), OF_THE_ARTIFACT.values(), ids=OF_THE_ARTIFACT)
def test_a_graph_that_is_not_what_the_card_says(tmp_path, capfd, nodes, constants):
    model = load(tmp_path, nodes, {"x": X_SHAPE}, 2, constants)
    with pytest.raises(
        ArtifactError, match=r"model.onnx: it failed on the inputs x float32\[2, 3\].*odelet verify"
    ) as raised:
        model(X)
    assert not isinstance(raised.value, InputError)
    assert capfd.readouterr() == ("", "")


def test_a_model_without_inputs_cannot_blame_them(tmp_path):
    constants = (TABLE, helper.make_tensor("big", F32, [1], [9.0]))
    nodes = [node("Cast", "big", "i", to=I64), node("Gather", "table i", "y")]
    try:
        model = load(tmp_path, nodes, {}, 2, constants)
    except ArtifactError:
        return
    with pytest.raises(ArtifactError):
        model()


def test_a_failure_travels_between_processes():
    failure = GraphFailed("solve 0", f"idx={DIVIDED_BY_ZERO} must be within the inclusive range [-2,1]")
    back = pickle.loads(pickle.dumps(failure))
    assert str(back) == str(failure)
    assert isinstance(back.judged({"b": np.array([0])}), InputError)
    assert isinstance(back.judged({}), ArtifactError)
