"""Artifacts made by hand whose graphs run until they are ended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import helper

from odelet.artifact.card import Card, Tensor
from odelet.artifact.program_steps import RunStep
from odelet.artifact.solve_card import SolveCard
from support.artifacts import (
    BOOL,
    F32,
    I64,
    driven_card,
    driven_models,
    node,
    onnx_model,
    scalar,
    value,
    write,
)

FOREVER = 2**63 - 1
X = np.zeros(3, np.float32)


def loop(state, result, *, turns="turns"):
    """The node that takes the cosine of a value, as often as a number among the values says."""
    body = helper.make_graph(
        [node("Identity", "go", "go1"), node("Cos", "s", "s1")],
        "body",
        [value("i", I64, []), value("go", BOOL, []), value("s", F32, None)],
        [value("go1", BOOL, []), value("s1", F32, None)],
    )
    return helper.make_node("Loop", [turns, "yes", state], [result], body=body)


def write_loop(folder: Path, *, solve: SolveCard | None = None):
    """y = cos(cos(... x)), `turns` times: an input. solve: what the card says of it, or None for a graph from outside
    whose loop is no solve."""
    card = Card(
        odelet="0.1.0",
        name="Loop",
        form="unrolled" if solve is None else solve.form,
        inputs=(
            Tensor(name="x", dtype="float32", shape=("n",)),
            Tensor(name="turns", dtype="int64", shape=()),
        ),
        outputs=(Tensor(name="y", dtype="float32", shape=("n",)),),
        program=(RunStep(run="model.onnx"),),
        solves=() if solve is None else (solve,),
    )
    model = onnx_model(
        [loop("x", "y")],
        [value("x", F32, ["n"]), value("turns", I64, [])],
        [value("y", F32, ["n"])],
        [scalar("yes", BOOL, True)],
        card=card,
    )
    samples = {"0/in/x": X, "0/in/turns": np.array(FOREVER), "0/out/y": X, "0/allowed/y": np.float64(0)}
    return write(folder, card, {"model.onnx": model}, samples)


def _with_loop(model, old, *, turns):
    """Put a loop in the way of the first node that takes the value `old`."""
    graph = model.graph
    first = next(one for one in graph.node if old in one.input)
    first.input[list(first.input).index(old)] = f"{old}.slow"
    graph.node.insert(0, loop(old, f"{old}.slow"))
    graph.initializer.extend([scalar("turns", I64, turns), scalar("yes", BOOL, True)])


def write_driven(folder: Path, *, slow: str | None = None, turns=FOREVER, times_given=False):
    """A driven solve whose steps add the slope. slow: the file of the graph that never ends, or ends after so many
    turns. times_given: whether the output times are an input of the model, as a stream needs them."""
    models, card = driven_models(), driven_card()
    if times_given:
        graph = models["segment_0.onnx"].graph
        del graph.node[-1], graph.output[-1]
        drive = replace(card.solves[0].drive, t="t")
        times = Tensor(name="t", dtype="float64", shape=("times",))
        card = replace(card, inputs=(*card.inputs, times), solves=(replace(card.solves[0], drive=drive),))
    places = {
        "segment_0.onnx": "x",
        "segment_1.onnx": "solve_0.y.0",
        "solve_0_field.onnx": "y",
        "solve_0_step.onnx": "k",
    }
    if slow is not None:
        _with_loop(models[slow], places[slow], turns=turns)
    return write(folder, card, models)
