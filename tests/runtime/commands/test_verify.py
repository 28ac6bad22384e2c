"""Verification without torch: the samples run again, and the report names every difference."""

import json

import numpy as np
import pytest
from support.artifacts import (
    affine_card,
    affine_model,
    affine_nodes,
    affine_samples,
    node,
    write,
    write_affine,
    write_pair,
)

import odelet
from odelet import ArtifactError, InputError
from odelet.artifact.samples import compare


@pytest.fixture
def folder(tmp_path):
    return write_affine(tmp_path / "out")


def with_samples(tmp_path, samples, card=None):
    card = card or affine_card()
    return write(tmp_path / "other", card, {"model.onnx": affine_model(card)}, samples)


def test_a_good_artifact_passes(folder):
    for target in (folder, str(folder), odelet.load(folder)):
        report = odelet.verify(target)
        assert report.passed
        assert [(check.sample, check.output) for check in report.checks] == [(0, "y"), (1, "y")]
        assert all(check.max_abs == 0 for check in report.checks)
    assert report.summary().endswith("passed")


def test_a_difference_is_found_and_placed(tmp_path):
    samples = affine_samples()
    samples["1/out/y"][2, 1] += 0.5
    report = odelet.verify(with_samples(tmp_path, samples))
    assert [check.passed for check in report.checks] == [True, False]
    failed = report.checks[1]
    assert failed.worst == (2, 1)
    assert failed.max_abs == pytest.approx(0.5)
    assert failed.max_rel == pytest.approx(0.5 / 3.5)
    assert "sample 1, y: FAILED, max abs 0.5 (allowed 1e-05), max rel 0.143, worst at [2, 1]" in report.summary()
    assert "FAILED: 1 of 2 outputs differ" in report.summary()
    assert not json.loads(json.dumps(report.to_dict(), allow_nan=False))["passed"]


def test_the_allowed_error_is_the_samples(tmp_path):
    samples = affine_samples()
    samples["0/out/y"] *= np.float32(1.01)
    loose = samples | {"0/allowed/y": np.float64(0.2)}
    assert not odelet.verify(with_samples(tmp_path / "a", samples)).passed
    assert odelet.verify(with_samples(tmp_path / "b", loose)).passed


def test_a_solve_that_fails_is_a_difference(tmp_path):
    nodes = affine_nodes()
    nodes[5] = node("Identity", "int_one", "solve_0.status")
    report = odelet.verify(write_affine(tmp_path, nodes=nodes))
    assert not report.passed
    assert report.checks[0].note == "a solve failed: the step limit was reached before the end time"
    assert "FAILED, a solve failed" in report.summary()
    json.dumps(report.to_dict(), allow_nan=False)


ABC = np.array([1.0, 2.0, 4.0])
NAN, INF = np.nan, np.inf
PAIRS = {
    "equal": (ABC, ABC, True, 0.0),
    "within": (ABC + 1e-7, ABC, True, 1e-7),
    "outside": (ABC + 1e-3, ABC, False, 1e-3),
    "nan at the same place": (np.array([1, NAN]), np.array([1, NAN]), True, 0.0),
    "nan here": (np.array([1, NAN]), np.array([1, 2.0]), False, INF),
    "nan there": (np.array([1, 2.0]), np.array([1, NAN]), False, INF),
    "same infinity": (np.array([1, INF]), np.array([1, INF]), True, 0.0),
    "other infinity": (np.array([1, -INF]), np.array([1, INF]), False, INF),
    "infinity here": (np.array([1, INF]), np.array([1, 2.0]), False, INF),
    "infinity there": (np.array([1, 2.0]), np.array([1, INF]), False, INF),
    "scalar": (np.array(1.0), np.array(2.0), False, 1.0),
    "zero expected": (np.array([1e-7]), np.array([0.0]), True, 1e-7),
    "empty": (np.zeros((0, 3)), np.zeros((0, 3)), True, 0.0),
    "integers": (np.array([2**62 + 1]), np.array([2**62 + 1]), True, 0.0),
    "bool": (np.array([True, False]), np.array([True, True]), False, 1.0),
}


@pytest.mark.parametrize(("got", "expected", "passed", "error"), PAIRS.values(), ids=PAIRS)
def test_compare(got, expected, passed, error):
    check = compare(0, "y", got, expected, allowed=1e-6)
    assert check.passed is passed
    assert check.max_abs == pytest.approx(error, rel=1e-6)
    json.dumps(check.to_dict(), allow_nan=False)


@pytest.mark.parametrize("got", [np.ones((2, 1)), np.ones(2, np.float32)])
def test_compare_of_what_cannot_be_compared(got):
    check = compare(0, "y", got, np.ones(2), allowed=1)
    assert not check.passed
    assert "torch gave float64 [2]" in check.note


IN, OUT = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
BAD_SAMPLES = {
    "none": ({}, r"it holds the samples \[\]; expected 0, 1"),
    "gap": ({"1/in/x": IN, "1/out/y": OUT}, r"it holds the samples \[1\]; expected 0, 1"),
    "key": ({"x": 0}, "the array 'x' is not 'K/in/INPUT', 'K/out/OUTPUT' or 'K/allowed"),
    "name": ({"0/in/z": 0}, "the array '0/in/z' is not"),
    "missing": ({"0/in/x": IN}, "sample 0 lacks allowed/y, out/y"),
    "shape": (
        {"0/in/x": np.ones(3, np.float32), "0/out/y": OUT, "0/allowed/y": np.float64(0)},
        r"member '0/in/x': it is float32 \[3\]; the card says float32 \[batch, 3\]",
    ),
    "dtype": ({"0/in/x": IN, "0/out/y": OUT > 0}, r"member '0/out/y': it is bool \[1, 3\]; the card says float32"),
    "rows": (
        {"0/in/x": IN, "0/out/y": OUT, "0/allowed/y": np.zeros(2)},
        r"member '0/allowed/y': it is float64 \[2\]; the card says float64 \[\]",
    ),
    "allowed": (
        {"0/in/x": IN, "0/out/y": OUT, "0/allowed/y": np.float64(np.nan)},
        "sample 0 allows an error of array",
    ),
    "pickle": ({"0/in/x": np.array([{}], object), "0/out/y": OUT}, "'0/in/x': it holds Python objects"),
}


@pytest.mark.parametrize(("samples", "message"), BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_bad_samples(tmp_path, samples, message):
    with pytest.raises(ArtifactError, match=message):
        odelet.verify(with_samples(tmp_path, samples))


def test_nothing_to_compare_with(tmp_path, folder):
    with pytest.raises(ArtifactError, match="the card lists no samples.npz"):
        odelet.verify(with_samples(tmp_path, None))
    with pytest.raises(InputError, match="a lone .onnx file carries no samples"):
        odelet.verify(folder / "model.onnx")


def test_samples_that_changed_after_loading(folder):
    model = odelet.load(folder)
    (folder / "samples.npz").write_bytes(bytes((folder / "samples.npz").stat().st_size))
    with pytest.raises(ArtifactError, match="samples.npz: its sha256"):
        odelet.verify(model)


def test_several_inputs_and_outputs(tmp_path):
    report = odelet.verify(write_pair(tmp_path))
    assert report.passed
    assert [check.output for check in report.checks] == ["total", "mask"]
