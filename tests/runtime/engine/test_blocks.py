"""Loops and branches of a program: they do what ONNX's Loop and If do, and a card that does not fit is refused."""

from dataclasses import replace

import numpy as np
import pytest
from support.artifacts import BOOL, F32, I64, affine_card, node, onnx_model, scalar, value, write

import odelet
from odelet.artifact.card import Tensor
from odelet.artifact.program_steps import BranchStep, CarriedCard, ChosenCard, LoopStep, RunStep, StackedCard
from odelet.errors import ArtifactError, MemoryLimitError

X = np.array([1.0, 2.0, 3.0], np.float32)


def turn(name="turn"):
    """y -> 2 y + i; `more` says whether the sum of the result is below 100."""
    nodes = [
        node("Cast", "i", "number", to=F32),
        node("Mul", "y two", "twice"),
        node("Add", "twice number", "y1"),
        node("ReduceSum", "y1", "sum", keepdims=0),
        node("Less", "sum hundred", "more"),
    ]
    inputs = [value("y", F32, [3]), value("i", I64, [])]
    outputs = [value("y1", F32, [3]), value("more", BOOL, [])]
    return onnx_model(nodes, inputs, outputs, [scalar("two", F32, 2.0), scalar("hundred", F32, 100.0)])


def begin():
    nodes = [node("Identity", "n", "most"), node("Greater", "n zero", "some")]
    outputs = [value("most", I64, []), value("some", BOOL, [])]
    return onnx_model(nodes, [value("n", I64, [])], outputs, [scalar("zero", I64, 0)])


def loop(**changes):
    step = LoopStep(
        repeat=(RunStep(run="turn.onnx"),),
        most="most",
        go_on="some",
        again="more",
        iteration="i",
        carried=(CarriedCard(turn="y", start="x", after="y1", result="end"),),
        stacked=(StackedCard(made="y1", result="rows"),),
    )
    return replace(step, **changes)


def card(*program):
    inputs = (Tensor(name="x", dtype="float32", shape=(3,)), Tensor(name="n", dtype="int64", shape=()))
    outputs = (
        Tensor(name="end", dtype="float32", shape=(3,)),
        Tensor(name="rows", dtype="float32", shape=("turns", 3)),
    )
    return replace(affine_card(), inputs=inputs, outputs=outputs, solves=(), form="plain", program=program)


def load(folder, *program, **graphs):
    models = {"begin.onnx": begin(), "turn.onnx": turn(), **graphs}
    return odelet.load(write(folder, card(*program), models))


def expected(x, n):
    y, rows = x, []
    for i in range(n):
        y = 2 * y + np.float32(i)
        rows.append(y)
        if not y.sum() < 100:
            break
    return y, np.array(rows, np.float32).reshape(-1, 3)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 40])
def test_a_loop_repeats_a_graph_as_the_operator_loop_does(tmp_path, n):
    model = load(tmp_path, RunStep(run="begin.onnx"), loop())
    # Twice: the second call takes the memory of the first.
    for x in (X, X * 0.5):
        end, rows = model(x, np.array(n))
        wanted = expected(x, n)
        np.testing.assert_array_equal(end, wanted[0])
        np.testing.assert_array_equal(rows, wanted[1])
        assert rows.shape == wanted[1].shape


def test_what_a_call_returned_is_not_written_by_the_next_call(tmp_path):
    model = load(tmp_path, RunStep(run="begin.onnx"), loop())
    first = model(X, np.array(3))
    kept = [array.copy() for array in first]
    model(X * 3, np.array(3))
    for array, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_a_loop_without_a_condition_takes_all_its_turns(tmp_path):
    model = load(tmp_path, RunStep(run="begin.onnx"), loop(again=None, go_on=None))
    end, rows = model(X, np.array(9))
    assert rows.shape == (9, 3)
    np.testing.assert_array_equal(end, rows[-1])


def growing():
    """y -> y with its last element once more."""
    nodes = [node("Slice", "y last end", "tail"), node("Concat", "y tail", "y1", axis=0)]
    constants = [onnx_vector("last", [-1]), onnx_vector("end", [2**62])]
    return onnx_model(nodes, [value("y", F32, ["n"])], [value("y1", F32, ["n1"])], constants)


def onnx_vector(name, numbers):
    tensor = scalar(name, I64, 0)
    del tensor.int64_data[:]
    tensor.dims.append(len(numbers))
    tensor.int64_data.extend(numbers)
    return tensor


def test_a_carried_value_may_grow_from_turn_to_turn(tmp_path):
    step = loop(again=None, iteration=None, stacked=())
    data = replace(card(RunStep(run="begin.onnx"), step), outputs=(Tensor(name="end", dtype="float32", shape=("n",)),))
    model = odelet.load(write(tmp_path, data, {"begin.onnx": begin(), "turn.onnx": growing()}))
    np.testing.assert_array_equal(model(X, np.array(4)), [1, 2, 3, 3, 3, 3, 3])


def test_loops_nest(tmp_path):
    inner = loop(most="most", go_on=None, again=None, iteration="i", stacked=())
    inner = replace(inner, carried=(CarriedCard(turn="y", start="z", after="y1", result="z1"),))
    outer = LoopStep(
        repeat=(inner,), most="most", carried=(CarriedCard(turn="z", start="x", after="z1", result="end"),)
    )
    data = card(RunStep(run="begin.onnx"), outer)
    data = replace(data, outputs=data.outputs[:1])
    model = odelet.load(write(tmp_path, data, {"begin.onnx": begin(), "turn.onnx": turn()}))
    y = X
    for _ in range(3):
        for i in range(3):
            y = 2 * y + np.float32(i)
    np.testing.assert_array_equal(model(X, np.array(3)), y)


def test_a_branch_runs_one_of_two_blocks(tmp_path):
    def scaled(name, factor):
        return onnx_model(
            [node("Mul", "x factor", name)],
            [value("x", F32, [3])],
            [value(name, F32, [3])],
            [scalar("factor", F32, factor)],
        )

    step = BranchStep(
        choose="some",
        then=(RunStep(run="a.onnx"),),
        otherwise=(RunStep(run="b.onnx"),),
        chosen=(ChosenCard(then="a", otherwise="b", result="end"),),
    )
    data = card(RunStep(run="begin.onnx"), step)
    data = replace(data, outputs=data.outputs[:1])
    graphs = {"begin.onnx": begin(), "a.onnx": scaled("a", 2.0), "b.onnx": scaled("b", -1.0)}
    model = odelet.load(write(tmp_path, data, graphs))
    np.testing.assert_array_equal(model(X, np.array(1)), 2 * X)
    np.testing.assert_array_equal(model(X, np.array(0)), -X)


CARRIED = loop().carried[0]
MISFITS = {
    "limit": (loop(most="missing"), "the program needs 'missing', which nothing makes"),
    "limit of another type": (loop(most="some"), "a loop of the program: 'some' is bool .*; expected a int64 scalar"),
    "condition": (loop(go_on="most"), "a loop of the program: 'most' is int64 .*; expected a bool scalar"),
    "again": (loop(again="y1"), "a loop of the program: 'y1' is float32"),
    "start": (loop(carried=(replace(CARRIED, start="missing"),)), "needs 'missing', which nothing makes"),
    "start of another type": (loop(carried=(replace(CARRIED, start="n"),)), "input 'y' is float32"),
    "after": (loop(carried=(replace(CARRIED, after="missing"),)), "needs 'missing', which nothing makes"),
    "after of another type": (loop(carried=(replace(CARRIED, after="more"),)), "starts from 'x', .* and hands on bool"),
    "input of a turn": (loop(iteration="j"), "turn.onnx: it needs 'i', which is neither an input"),
    "stacked": (loop(stacked=(StackedCard(made="missing", result="rows"),)), "needs 'missing', which nothing makes"),
    "made twice": (loop(stacked=(StackedCard(made="y1", result="x"),)), "it makes 'x', which is there already"),
}


@pytest.mark.parametrize(("step", "message"), MISFITS.values(), ids=MISFITS)
def test_a_loop_that_does_not_fit_is_refused(tmp_path, step, message):
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path, RunStep(run="begin.onnx"), step)


def test_a_loop_has_steps_and_an_end():
    with pytest.raises(ArtifactError, match="repeats nothing"):
        loop(repeat=())
    with pytest.raises(ArtifactError, match="has no end"):
        loop(most=None, again=None)


def carried(turn, result):
    return CarriedCard(turn=turn, start="y0", after="y1", result=result)


@pytest.mark.parametrize(
    "parts, match",
    [
        ({"carried": (carried("y", "z"), carried("x", "z"))}, "makes 'z' twice"),
        ({"carried": (carried("y", "z"),), "stacked": (StackedCard(made="y1", result="z"),)}, "makes 'z' twice"),
        ({"stacked": (StackedCard(made="y1", result="z"), StackedCard(made="y0", result="z"))}, "makes 'z' twice"),
        ({"carried": (carried("y", "z"), carried("y", "x"))}, "gives a turn 'y' twice"),
        ({"carried": (carried("y", "z"),), "iteration": "y"}, "gives a turn 'y' twice"),
    ],
)
def test_a_loop_gives_each_name_once(parts, match):
    with pytest.raises(ArtifactError, match=match):
        loop(**parts)
    loop(carried=(carried("y", None), carried("x", None)))


def test_a_branch_gives_each_name_once():
    twice = tuple(ChosenCard(then=name, otherwise=name, result="z") for name in ("x", "y"))
    with pytest.raises(ArtifactError, match="a branch of the program makes 'z' twice"):
        BranchStep(choose="some", then=(), otherwise=(), chosen=twice)


def test_branches_make_values_of_one_type(tmp_path):
    step = BranchStep(choose="some", then=(), otherwise=(), chosen=(ChosenCard(then="x", otherwise="n", result="end"),))
    with pytest.raises(ArtifactError, match="a branch of the program makes 'end' as float32 .* or as int64"):
        load(tmp_path, RunStep(run="begin.onnx"), step)


def test_what_a_loop_stacks_counts_for_the_cap_of_memory(tmp_path):
    wide = 2**16
    make = node("Add", "y one", "y1")
    graph = onnx_model([make], [value("y", F32, [wide])], [value("y1", F32, [wide])], [scalar("one", F32, 1.0)])
    step = loop(again=None, iteration=None)
    data = card(RunStep(run="begin.onnx"), step)
    inputs = (replace(data.inputs[0], shape=(wide,)), data.inputs[1])
    outputs = (replace(data.outputs[0], shape=(wide,)), replace(data.outputs[1], shape=("turns", wide)))
    data = replace(data, inputs=inputs, outputs=outputs)
    model = odelet.load(write(tmp_path, data, {"begin.onnx": begin(), "turn.onnx": graph}), memory=2**24)
    x = np.zeros(wide, np.float32)
    _, rows = model(x, np.array(20))
    assert rows.shape == (20, wide)
    with pytest.raises(MemoryLimitError, match="turns of a loop, and as many more, need more than memory=16777216"):
        model(x, np.array(1000))
