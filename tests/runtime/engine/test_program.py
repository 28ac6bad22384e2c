"""The program of a card and its graphs: a step finds what it needs, or loading says what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper
from support.artifacts import (
    F32,
    affine_card,
    driven_card,
    driven_models,
    node,
    onnx_model,
    value,
    write,
    write_affine,
)

import odelet
from odelet.artifact.card import Tensor
from odelet.artifact.program_steps import DriveStep, RunStep
from odelet.artifact.solve_card import SolveCard
from odelet.errors import ArtifactError

X = np.ones((2, 3), np.float32)


def refused(path, message):
    with pytest.raises(ArtifactError, match=message):
        odelet.load(path)


def other(**changes):
    return replace(affine_card().inputs[0], **changes)


MISFITS = {
    "dtype": (
        affine_card(inputs=(other(dtype="float64"),)),
        r"input 'x' is float64 \[batch, 3\] in the card, and float32 \[\?, 3\] in the graph",
    ),
    "rank": (affine_card(inputs=(other(shape=("batch",)),)), r"input 'x' is float32 \[batch\] in the card"),
    "size": (
        affine_card(outputs=(Tensor(name="y", dtype="float32", shape=("batch", 4)),)),
        "output 'y' is float32",
    ),
    "made dynamic": (affine_card(inputs=(other(shape=("batch", "width")),)), "input 'x' is float32"),
    "input name": (
        affine_card(inputs=(other(name="z"),)),
        "model.onnx: it needs 'x', which is neither an input",
    ),
    "spare input": (
        affine_card(inputs=(other(), other(name="z"))),
        "the card's input 'z' is taken by no graph",
    ),
    "output name": (affine_card(outputs=(other(name="z"),)), "the card's output 'z' is made by no step"),
    "made twice": (affine_card(inputs=(other(), other(name="y"))), "it makes 'y', which is there already"),
}


@pytest.mark.parametrize(("card", "message"), MISFITS.values(), ids=MISFITS)
def test_a_graph_that_is_not_what_the_card_says(tmp_path, card, message):
    write_affine(tmp_path, card)
    refused(tmp_path, message)


def solve(**changes):
    return affine_card(solves=(replace(affine_card().solves[0], **changes),))


SOLVE_MISFITS = {
    "setting": (
        solve(settings={"rtol": "tol"}),
        "solve 0: its setting rtol goes to 'tol', which no graph takes as a setting",
    ),
    "setting without default": (
        solve(settings={"rtol": "x"}),
        "goes to 'x', which no graph takes as a setting",
    ),
    "setting of another type": (
        solve(settings={"rtol": "max_steps"}),
        r"input 'max_steps' is int64 \[\]; expected a float64 scalar",
    ),
    "report": (solve(report={"time": "clock"}), "solve 0: its report time is 'clock', which no graph gives"),
    "report of another type": (
        solve(report={"time": "y"}),
        r"report 'y' is float32 \[\?, 3\]; expected a float32 scalar",
    ),
}


@pytest.mark.parametrize(("card", "message"), SOLVE_MISFITS.values(), ids=SOLVE_MISFITS)
def test_a_solve_that_the_graph_does_not_have(tmp_path, card, message):
    write_affine(tmp_path, card)
    refused(tmp_path, message)


def test_a_driven_artifact_loads(tmp_path):
    model = odelet.load(write(tmp_path, driven_card(), driven_models()))
    assert repr(model) == "<odelet.Model Driven (driven): x: float32 [batch, 3] -> y: float32 [batch, 3]>"


def driven_solve(**changes):
    solve = driven_card().solves[0]
    return driven_card(solves=(replace(solve, drive=replace(solve.drive, **changes)),))


DRIVEN_MISFITS = {
    "no field": (driven_solve(field=None, t=None), "solve 0: dopri5 does not go with its drive entry"),
    "t": (driven_solve(t="clock"), "solve 0: it needs 'clock', which is made by no earlier step"),
    "captured": (driven_solve(captured=("context", "more")), "solve 0: it needs 'more'"),
    "not captured": (
        driven_solve(captured=()),
        "solve_0_field.onnx: it needs 'context', which the driver does not",
    ),
    "swapped": (
        driven_solve(field="segment_1.onnx"),
        "segment_1.onnx is used in 2 places; each graph has one",
    ),
    "solution": (
        driven_solve(solution=("elsewhere",)),
        "segment_1.onnx: it needs 'solve_0.y.0', which is neither",
    ),
    "order": (
        driven_card(program=(DriveStep(drive=0), RunStep(run="segment_0.onnx"))),
        "it needs 'solve_0.t'",
    ),
    "no such file": (driven_solve(step="lost.onnx"), "lost.onnx is used, but is not among the files"),
}


@pytest.mark.parametrize(("card", "message"), DRIVEN_MISFITS.values(), ids=DRIVEN_MISFITS)
def test_a_driven_artifact_that_does_not_fit(tmp_path, card, message):
    write(tmp_path, card, driven_models())
    refused(tmp_path, message)


def test_a_step_graph_without_the_output_that_the_driver_needs(tmp_path):
    models = driven_models()
    row = [1, "n"]
    models["solve_0_step.onnx"] = onnx_model([node("Neg", "y", "k1")], [value("y", F32, row)], [value("k1", F32, row)])
    write(tmp_path, driven_card(), models)
    refused(tmp_path, "solve_0_step.onnx: it has no output 'y1', which the driver needs")


def test_two_graphs_in_a_row(tmp_path):
    card = affine_card(
        form="rolled",
        solves=(SolveCard(index=0, form="rolled", method="rk4"),),
        program=(RunStep(run="a.onnx"), RunStep(run="b.onnx")),
    )
    shape = ["batch", 3]
    first = onnx_model([node("Neg", "x", "h")], [value("x", F32, shape)], [value("h", F32, shape)])
    last = onnx_model([node("Neg", "h", "y")], [value("h", F32, shape)], [value("y", F32, shape)])
    write(tmp_path, card, {"a.onnx": first, "b.onnx": last})
    np.testing.assert_array_equal(odelet.load(tmp_path)(X), X)


def test_a_failure_inside_the_graph_names_the_file_and_the_inputs(tmp_path):
    card = affine_card(
        solves=(),
        inputs=(Tensor(name="x", dtype="float32", shape=("n",)),),
        outputs=(Tensor(name="y", dtype="float32", shape=("m",)),),
    )
    fixed = onnx_model(
        [node("Add", "x w", "y")],
        [value("x", F32, ["n"])],
        [value("y", F32, None)],
        [helper.make_tensor("w", F32, [2], [1.0, 2.0])],
        card=card,
    )
    model = odelet.load(write(tmp_path, card, {"model.onnx": fixed}))
    with pytest.raises(ArtifactError, match=r"model.onnx: it failed on the inputs x float32\[5\]"):
        model(np.ones(5, np.float32))
