"""Loops that nothing could end are refused before ONNX Runtime sees them; all others can be ended."""

from threading import Timer

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper
from support.artifacts import BOOL, F32, I64, node, onnx_model, scalar, value, write
from support.endless import FOREVER, write_loop

import odelet
from odelet.artifact.loop_bodies import check_loops
from odelet.artifact.proto import scan
from odelet.errors import ArtifactError

GO, S = value("go", BOOL, []), value("s", F32, [3])
GO1, S1 = value("go1", BOOL, []), value("s1", F32, [3])


def constant(name, numbers, kind):
    tensor = helper.make_tensor(name, kind, list(np.shape(numbers)), np.ravel(numbers).tolist())
    return node("Constant", "", name, value=tensor)


def identities(**outer):
    """A node that runs one of two graphs, each of which hands a value on."""
    graphs = {
        key: helper.make_graph([node("Identity", "s", name)], name, [], [value(name, F32, [3])])
        for key, name in (("then_branch", "then"), ("else_branch", "else"))
    }
    return node("If", outer["condition"], "s1", **graphs)


# The nodes and the outputs of bodies in which ONNX Runtime would run no node. They are not run here, as they never end.
WITHOUT_END = {
    "no node": ([], [GO, S]),
    "constants": ([constant("go1", True, BOOL), constant("s1", [1.0, 2.0, 3.0], F32)], [GO1, S1]),
    "a node that nobody reads": ([node("Neg", "s", "z")], [GO, S]),
    "known when it loads": ([constant("a", [1.0, 2.0, 3.0], F32), node("Neg", "a", "s1")], [GO, S1]),
    "a shape": (
        [node("Shape", "s", "sh"), constant("z", [0], I64), node("Greater", "sh z", "g"), node("Squeeze", "g", "go1")],
        [GO1, S],
    ),
}
# Bodies from which ONNX Runtime might leave out what changes nothing, and keeps a node nevertheless.
WITH_END = {
    "identity": ([node("Identity", "go", "go1")], [GO1, S]),
    "cast": ([node("Cast", "s", "s0", to=F32), node("Identity", "s0", "s1")], [GO, S1]),
    "twice negative": ([node("Neg", "s", "s0"), node("Neg", "s0", "s1")], [GO, S1]),
    "times 1": ([constant("z", 1.0, F32), node("Mul", "s z", "s1")], [GO, S1]),
    "times 0": ([constant("z", 0.0, F32), node("Mul", "s z", "s1")], [GO, S1]),
    "where": ([constant("z", True, BOOL), node("Where", "z s s", "s1")], [GO, S1]),
    "if": ([identities(condition="go")], [GO, S1]),
}


def model(nodes, outputs, *, inner=False):
    """A model that runs a body for ever. inner: within the body of another loop."""
    body = helper.make_graph(nodes, "body", [value("i", I64, []), GO, S], outputs)
    loop = helper.make_node("Loop", ["turns", "yes", "x"], ["y"], body=body)
    if inner:
        outer = helper.make_graph(
            [helper.make_node("Loop", ["turns", "yes", "x"], ["w"], body=body), node("Cos", "w", "v")],
            "outer",
            [value("j", I64, []), value("on", BOOL, []), value("x", F32, [3])],
            [value("on", BOOL, []), value("v", F32, [3])],
        )
        loop = helper.make_node("Loop", ["turns", "yes", "x0"], ["y"], body=outer)
    inputs, outputs = [value("x0" if inner else "x", F32, [3])], [value("y", F32, [3])]
    return onnx_model([loop], inputs, outputs, [scalar("turns", I64, FOREVER), scalar("yes", BOOL, True)])


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("name", WITHOUT_END)
def test_a_body_that_computes_nothing_is_refused(name, inner):
    data = model(*WITHOUT_END[name], inner=inner).SerializeToString()
    with pytest.raises(ArtifactError, match="^m.onnx: the body of a Loop computes nothing from its inputs"):
        check_loops(scan(data, name="m.onnx").graph, name="m.onnx")


@pytest.mark.parametrize("name", WITH_END)
def test_every_other_body_can_be_ended(name):
    data = model(*WITH_END[name]).SerializeToString()
    check_loops(scan(data, name="m.onnx").graph, name="m.onnx")
    settings, options = ort.SessionOptions(), ort.RunOptions()
    settings.log_severity_level = 4
    session = ort.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    timer = Timer(0.05, lambda: setattr(options, "terminate", True))
    timer.start()
    with pytest.raises(Exception, match="terminate flag"):
        session.run(None, {"x": np.zeros(3, np.float32)}, options)


def test_a_scan_over_numbers_without_size_is_refused():
    body = helper.make_graph([], "body", [value("a", F32, [0])], [value("a", F32, [0])])
    loop = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    data = onnx_model([loop], [value("x", F32, [2**40, 0])], [value("y", F32, [2**40, 0])]).SerializeToString()
    with pytest.raises(ArtifactError, match="the body of a Scan computes nothing"):
        check_loops(scan(data, name="m.onnx").graph, name="m.onnx")


def test_an_artifact_with_such_a_loop_does_not_load(tmp_path):
    card = odelet.load(write_loop(tmp_path / "good")).card
    bad = model(*WITHOUT_END["no node"])
    write(tmp_path / "bad", card, {"model.onnx": bad})
    with pytest.raises(ArtifactError, match="model.onnx: the body of a Loop"):
        odelet.load(tmp_path / "bad")
    helper.set_model_props(bad, {"odelet.card": card.short_json()})
    (tmp_path / "lone.onnx").write_bytes(bad.SerializeToString())
    with pytest.raises(ArtifactError, match="lone.onnx: the body of a Loop"):
        odelet.load(tmp_path / "lone.onnx")
