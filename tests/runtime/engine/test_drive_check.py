"""A driven solve whose card or graphs do not fit what drives them is refused at load, by a message that names it."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper
from support.artifacts import F32, F64, I64, driven_card, driven_models, edit_card, node, onnx_model, value, write

import odelet
from odelet.artifact.card import Card, Tensor
from odelet.artifact.decode import MAX_DEPTH
from odelet.artifact.program_steps import DriveStep, RunStep
from odelet.artifact.solve_card import EventCard, SolveCard
from odelet.errors import ArtifactError, InputError

FIELD, STEP, START = (f"solve_0_{kind}.onnx" for kind in ("field", "step", "start"))
ROW = [1, "n"]


def solve(*, drive=None, **changes):
    card = driven_card().solves[0]
    return driven_card(solves=(replace(card, drive=replace(card.drive, **(drive or {})), **changes),))


def options(method="dopri5", **changes):
    return solve(method=method, drive={"options": {"first_step": 0.25, **changes}})


EVENT = EventCard(graph="solve_0_event.onnx", time="when")
CARDS = {
    "unknown option": (options(safty=0.9), "solve 0: options safty are not known for method 'dopri5'"),
    "option of a method of another kind": (options("euler"), "options first_step are not known for method 'euler'"),
    "option out of range": (options(safety=-1.0), "solve 0: options: safety=-1.0 must be positive"),
    "option of another type": (options(safety="much"), "solve 0: options: .*not supported"),
    "option that is a list": (options(controller=["pi"]), "solve 0: options: "),
    "no first step": (solve(drive={"options": {"first_step": None}}), "neither a first_step nor a graph"),
    "no rtol": (solve(rtol=None), "solve 0: it has no rtol, which dopri5 reads"),
    "no atol": (solve(atol=None), "solve 0: it has no atol, which dopri5 reads"),
    "tolerances": (solve(rtol=(1e-3, 1e-3)), "rtol has 2 numbers for 1 parts of the state"),
    "step_t": (solve(drive={"step_t": "context"}), r"'context' is float32 \[\?, 3\]; expected float64 or"),
    "jump_t": (solve(drive={"jump_t": "x"}), r"'x' is float32 \[\?, 3\]; expected"),
    "t": (solve(drive={"t": "context"}), r"solve 0: 'context' is float32 \[\?, 3\]; expected float64 or .* \[\?\]"),
    "grid": (solve(drive={"grid": "solve_0.t"}), "its grid is constructed, and named, or neither"),
    "batched": (solve(drive={"batched": ("context",)}), "it names batched values, and solves no samples alone"),
    "batched and not captured": (
        solve(per_sample=True, drive={"batched": ("x",)}),
        r"its batched values \['x'\] are not captured",
    ),
    "lanes": (solve(per_sample=True), r"solve_0_field.onnx: the input 't' is float64 \[\]|is float32 \[\]; the driver"),
    "SciPy with a step": (solve(method="scipy_solver", drive={"options": {}}), "scipy_solver does not go with its"),
    "a fixed step with h": (
        solve(method="euler", drive={"options": {}}),
        "solve_0_step.onnx: it needs 'h', which the driver does not have",
    ),
    "steps": (
        solve(method="euler", drive={"options": {"steps": 2**40}}),
        f"its grid has {2**40} steps, more than {2**24}",
    ),
    "constructed": (solve(method="euler", drive={"options": {"constructed": True}}), "its grid is constructed, and"),
    "start of a fixed step": (
        solve(method="euler", drive={"options": {}, "start": START}),
        "it names start, which euler does not have",
    ),
    "event of samples": (
        solve(per_sample=True, drive={"event": EVENT}),
        "solve 0: dopri5, so set, cannot end at an event",
    ),
    "event of fixed steps at outputs": (
        solve(method="euler", drive={"options": {}, "event": EVENT}),
        "solve 0: euler, so set, cannot end at an event",
    ),
    "event with tolerances of parts": (solve(atol=(1e-3,), drive={"event": EVENT}), "atol must be one number"),
}


@pytest.mark.parametrize(("card", "message"), CARDS.values(), ids=CARDS)
def test_a_card_that_does_not_fit_its_driver(tmp_path, card, message):
    blob = onnx_model([node("Identity", "y", "c")], [value("y", F32, ROW)], [value("c", F32, ROW)])
    write(tmp_path, card, {**driven_models(), EVENT.graph: blob, START: blob})
    with pytest.raises(ArtifactError, match=message):
        odelet.load(tmp_path)


PORTS = {
    "t of the field": (FIELD, "input", "t", F64, [], r"input 't' is float64 \[\]; the driver has float32 \[\]"),
    "state of the field": (FIELD, "input", "y", F32, ["n"], r"input 'y' is float32 \[\?\]; .* float32 \[1, \?\]"),
    "captured": (FIELD, "input", "context", F64, ["batch", 3], r"input 'context' is float64"),
    "slope": (FIELD, "output", "k", F64, ROW, "'k'|cannot load it"),
    "time": (STEP, "input", "h", F32, [], r"input 'h' is float32 \[\]; the driver has float64 \[\]|cannot load it"),
    "rtol": (STEP, "input", "rtol", F64, [2], r"input 'rtol' is float64 \[2\]; the driver has float64 \[\]"),
    "k": (STEP, "input", "k", F32, [2, "n"], r"input 'k' is float32 \[2, \?\]; the driver has float32 \[1, \?\]"),
    "solution": ("segment_1.onnx", "input", "solve_0.y.0", F64, ["t", "b", 3], "cannot load|what an earlier step"),
    "rank": ("segment_1.onnx", "input", "solve_0.y.0", F32, ["b", 3], "what an earlier step makes is|in the graph"),
}


@pytest.mark.parametrize(("file", "side", "name", "kind", "shape", "message"), PORTS.values(), ids=PORTS)
def test_a_graph_that_does_not_fit_its_driver(tmp_path, file, side, name, kind, shape, message):
    models = driven_models()
    ports = getattr(models[file].graph, side)
    (port,) = (port for port in ports if port.name == name)
    port.CopyFrom(value(name, kind, shape))
    write(tmp_path, driven_card(), models)
    with pytest.raises(ArtifactError, match=message):
        odelet.load(tmp_path)


@pytest.mark.parametrize("name", ["y1", "k1", "mid", "ratio"])
def test_a_step_without_an_output(tmp_path, name):
    models = driven_models()
    outputs = models[STEP].graph.output
    outputs.remove(next(port for port in outputs if port.name == name))
    write(tmp_path, driven_card(), models)
    with pytest.raises(ArtifactError, match=f"{STEP}: it has no output '{name}', which the driver needs"):
        odelet.load(tmp_path)


def fixed_step(*outputs):
    nodes = [node("Identity", "y", name) for name in outputs]
    return onnx_model(nodes, [value("y", F32, ROW)], [value(name, F32, ROW) for name in outputs])


@pytest.mark.parametrize(
    ("method", "settings", "missing"),
    [
        ("explicit_adams", {}, "memory1.0"),
        ("implicit_adams", {}, "memory1.0"),
        ("radauIIA5", {}, "calls"),
        ("rk4", {"step_size": 0.1, "interp": "cubic"}, "k0"),
    ],
)
def test_a_fixed_step_without_what_its_method_needs(tmp_path, method, settings, missing):
    models = {**driven_models(), STEP: fixed_step("y1")}
    write(tmp_path, solve(method=method, drive={"options": settings}), models)
    with pytest.raises(ArtifactError, match=f"it has no output '{missing}', which the driver needs"):
        odelet.load(tmp_path)


def test_an_iteration_without_its_memory(tmp_path):
    card = solve(method="fixed_point", drive={"options": {}, "field": None, "t": None})
    models = {**driven_models(), STEP: fixed_step("y1")}
    write(tmp_path, card, models)
    with pytest.raises(ArtifactError, match="it has no output 'memory1.0', which the driver needs"):
        odelet.load(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float64", ("times", "batch", 3)), ("float32", ("batch", 3)), ("float32", ("t", "b", 4))]
)
def test_an_output_that_a_solve_makes_is_what_the_card_says(tmp_path, dtype, shape):
    output = Tensor(name="solve_0.y.0", dtype=dtype, shape=shape)
    card = driven_card(outputs=(output,), program=(RunStep(run="segment_0.onnx"), DriveStep(drive=0)))
    models = driven_models()
    del models["segment_1.onnx"]
    write(tmp_path, card, models)
    with pytest.raises(ArtifactError, match=r"output 'solve_0.y.0' is .* in the card, and float32 \[\?, \?, 3\]"):
        odelet.load(tmp_path)


def test_an_output_that_is_an_input_is_what_the_card_says(tmp_path):
    card = driven_card(outputs=(Tensor(name="x", dtype="float64", shape=("batch", 3)),))
    write(tmp_path, card, driven_models())
    with pytest.raises(ArtifactError, match=r"output 'x' is float64 \[batch, 3\] in the card"):
        odelet.load(tmp_path)


def test_an_axis_by_another_name(tmp_path):
    card = driven_card(inputs=(Tensor(name="x", dtype="float32", shape=("rows", 3)),))
    write(tmp_path, card, driven_models())
    with pytest.raises(ArtifactError, match=r"input 'x' is float32 \[rows, 3\] in the card"):
        odelet.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "dopri6"}, "solve 0: method 'dopri6' is unknown; known are "),
        ({"method": "rk4", "per_sample": True}, "solve 0: per_sample does not go with rk4"),
        ({"per_sample": True}, "solve 0: with per_sample, it has no report steps, accepted, status"),
        ({"per_sample": True, "report": {"steps": "s", "status": "t"}}, "it has no report accepted"),
    ],
)
def test_a_method_that_does_not_fit_its_solve(changes, message):
    with pytest.raises(ArtifactError, match=message):
        SolveCard(**{"index": 0, "form": "adaptive", "method": "dopri5", **changes})


def deep(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("key", "new", "message"),
    [
        ("parity", {"a": deep(MAX_DEPTH)}, f"it nests deeper than {MAX_DEPTH}"),
        ("work", 2**63, "the number 9223372036854775808... is too large"),
        ("work", -1, "work is -1"),
    ],
)
def test_sizes_and_nesting_of_a_card_are_bounded(tmp_path, key, new, message):
    write(tmp_path, driven_card(), driven_models())
    edit_card(tmp_path, lambda card: card.update({key: new}))
    with pytest.raises(ArtifactError, match=message):
        odelet.load(tmp_path)


def test_numbers_too_large_for_a_float_are_refused():
    text = driven_card().to_json().replace('"rtol": 0.001', '"rtol": 1e999')
    with pytest.raises(ArtifactError, match="the number 1e999 is too large"):
        Card.from_json(text)


def test_an_event_needs_a_second_time(tmp_path):
    card = solve(drive={"event": EVENT, "t": "t"})
    card = replace(card, inputs=(*card.inputs, Tensor(name="t", dtype="float64", shape=("times",))))
    row = value("y", F32, ROW)
    axis = helper.make_tensor("axis", I64, [1], [1])
    event = onnx_model([node("ReduceSum", "y axis", "c", keepdims=0)], [row], [value("c", F32, [None])], [axis])
    model = odelet.load(write(tmp_path, card, {**driven_models(), EVENT.graph: event}))
    with pytest.raises(InputError, match="t must be two times, the start and one that says where to"):
        model(np.ones((2, 3), np.float32), [0.0])
