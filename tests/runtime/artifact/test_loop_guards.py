"""A loop whose condition is no single number fails, where ONNX Runtime alone would end the process."""

import numpy as np
import onnx
import pytest
from onnx import helper
from support.artifacts import BOOL, F32, I64, node, onnx_model, scalar, value
from support.paths import ROOT

from odelet.artifact.loop_guards import guarded
from odelet.artifact.proto import scan
from odelet.engine.session import open_session

CORPUS = sorted((ROOT / "tests" / "whole" / "artifacts-0.1").glob("*/*.onnx"))


def body(condition, *, inner=(), stated=()):
    """A body that adds 1 to its state. condition: nodes that make "go1" of the state after it, "s1"."""
    return helper.make_graph(
        [*inner, node("Add", "s one", "s1"), *condition],
        "body",
        [value("i", I64, []), value("go", BOOL, []), value("s", F32, [])],
        [value("go1", BOOL, stated), value("s1", F32, [])],
    )


def counting(condition, **options):
    """y: the state after a loop of at most 1000 turns, from x."""
    loop = helper.make_node("Loop", ["turns", "yes", "x"], ["y"], body=body(condition, **options))
    constants = [
        scalar("turns", I64, 1000),
        scalar("yes", BOOL, True),
        scalar("one", F32, 1.0),
        scalar("end", F32, 5.0),
    ]
    size = helper.make_tensor("size", I64, [1], [1])
    return onnx_model([loop], [value("x", F32, [])], [value("y", F32, [])], [*constants, size])


def run(model, *, guard=True):
    data = model.SerializeToString()
    data = guarded(data, scan(data, name="m.onnx"), name="m.onnx") if guard else data
    return open_session(data).run(None, {"x": np.array(0, np.float32)})[0]


UNTIL_FIVE = [node("Less", "s1 end", "go1")]


ROW = [node("Less", "s1 end", "below"), node("Reshape", "below size", "go1")]


@pytest.mark.parametrize(("condition", "stated"), [(UNTIL_FIVE, ()), (UNTIL_FIVE, None), (ROW, (1,)), (ROW, None)])
def test_a_loop_with_one_condition_runs_as_before(condition, stated):
    model = counting(condition, stated=stated)
    assert run(model) == run(model, guard=False) == 5.0


@pytest.mark.parametrize("kept", [[False], [True, True]])
def test_any_other_number_of_conditions_fails(kept):
    """Nobody knows before the graph runs how many there are; the graph states that it is one."""
    indices = helper.make_tensor("k", BOOL, [len(kept)], kept)
    many = [
        node("Less", "s1 end", "below"),
        node("Constant", "", "sizes", value=helper.make_tensor("n", I64, [1], [len(kept)])),
        node("Expand", "below sizes", "row"),
        node("Constant", "", "kept", value=indices),
        node("Compress", "row kept", "go1", axis=0),
    ]
    with pytest.raises(Exception, match="cannot be reshaped"):
        run(counting(many, stated=None))


def test_a_loop_that_begins_without_a_condition_fails():
    model = counting(UNTIL_FIVE)
    empty = helper.make_tensor("kept", BOOL, [1], [False])
    model.graph.initializer.extend([empty, helper.make_tensor("some", BOOL, [1], [True])])
    model.graph.node.insert(0, node("Compress", "some kept", "none", axis=0))
    model.graph.node.insert(1, node("Cast", "x", "sizes", to=I64))
    # Nobody knows the shape before the graph runs.
    model.graph.node.insert(2, node("ConstantOfShape", "row", "axes", value=helper.make_tensor("z", I64, [1], [0])))
    model.graph.node.insert(2, node("Unsqueeze", "sizes first", "row"))
    model.graph.node.insert(4, node("Reshape", "none minus", "flat"))
    model.graph.node.insert(5, node("Concat", "axes zero", "shape", axis=0))
    model.graph.node.insert(6, node("Reshape", "flat shape", "yes_of_it"))
    model.graph.initializer.extend(
        helper.make_tensor(name, I64, [1], [number]) for name, number in (("first", 0), ("minus", -1), ("zero", 0))
    )
    model.graph.node[-1].input[1] = "yes_of_it"
    with pytest.raises(Exception, match="cannot be reshaped"):
        run(model)


def test_loops_inside_loops_and_branches_are_guarded():
    inner = helper.make_node("Loop", ["turns", "yes", "s"], ["z"], body=renamed(body(UNTIL_FIVE)))
    branches = {
        key: helper.make_graph([node("Identity", "s1", name)], name, [], [value(name, F32, [])])
        for key, name in (("then_branch", "then"), ("else_branch", "else"))
    }
    choice = node("If", "go", "chosen", **branches)
    model = counting([*UNTIL_FIVE, choice], inner=[inner])
    data = model.SerializeToString()
    written = onnx.ModelProto.FromString(guarded(data, scan(data, name="m.onnx"), name="m.onnx"))
    outer = written.graph.node[2].attribute[0].g
    nested = outer.node[2].attribute[0].g
    assert [graph.output[0].name for graph in (outer, nested)] == ["odelet.loop_3", "odelet.loop_1"]
    assert run(model) == 5.0


def renamed(graph):
    """The graph with other names for its own values, as no name may be there twice in scopes around each other."""
    own = {port.name for port in (*graph.input, *graph.output)} | {name for made in graph.node for name in made.output}
    for port in (*graph.input, *graph.output):
        port.name = f"inner.{port.name}"
    for made in graph.node:
        for names in (made.input, made.output):
            names[:] = [f"inner.{name}" if name in own else name for name in names]
    return graph


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_else_changes(path):
    data = path.read_bytes()
    facts = scan(data, name=path.name)
    written = guarded(data, facts, name=path.name)
    if ("", "Loop") not in facts.operators:
        assert written is data
    before, after = onnx.ModelProto.FromString(data), onnx.ModelProto.FromString(written)
    for one, old in zip(bodies(after.graph), bodies(before.graph), strict=True):
        guard, _ = one.node.pop(), one.node.pop()
        assert (guard.op_type, *guard.output) == ("Reshape", one.output[0].name)
        one.output[0].CopyFrom(old.output[0])
    for graph in graphs(after.graph):
        starts = [made for made in graph.node if any(name.startswith("odelet.start_") for name in made.output)]
        given = {made.output[0]: made.input[0] for made in starts if made.op_type == "Reshape"}
        for made in starts:
            graph.node.remove(made)
        for loop in [made for made in graph.node if made.op_type == "Loop" and made.input[1]]:
            loop.input[1] = given.pop(loop.input[1])
        assert not given
    assert after == before


def graphs(graph):
    """A graph and all inside it."""
    yield graph
    for made in graph.node:
        for attribute in made.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def bodies(graph):
    """The bodies of all loops in a graph."""
    for inner in graphs(graph):
        for made in inner.node:
            if made.op_type == "Loop":
                yield from (attribute.g for attribute in made.attribute if attribute.HasField("g"))
