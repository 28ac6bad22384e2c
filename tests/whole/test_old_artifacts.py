"""Artifacts that an earlier odelet wrote load, answer as they did, and verify."""

import pytest
from support.paths import ROOT

import odelet

FOLDER = ROOT / "tests" / "whole" / "artifacts-0.1"
ARTIFACTS = sorted(path.parent.name for path in FOLDER.glob("*/odelet.json"))


def test_the_five_old_artifacts_have_every_kind_of_solve():
    cards = [odelet.load(FOLDER / name).card for name in ARTIFACTS]
    assert len(cards) == 5
    assert {card.form for card in cards} == {"adaptive", "bounded", "driven", "rolled"}
    assert any(card.assumptions for card in cards)
    assert any(card.noise for card in cards)
    assert any(card.fallback for card in cards)
    assert any("weights.bin" in card.files for card in cards)
    assert any(solve.per_sample for card in cards for solve in card.solves)
    assert any(solve.drive and solve.drive.event for card in cards for solve in card.solves)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_of_0_1_verifies(name):
    report = odelet.verify(FOLDER / name)
    assert report.passed
    assert report.checks


@pytest.mark.parametrize("name", ["adaptive", "rolled", "fixed-point"])
def test_a_lone_file_of_0_1_loads(name):
    whole, lone = odelet.load(FOLDER / name), odelet.load(FOLDER / name / "model.onnx")
    assert [tensor.name for tensor in lone.outputs] == [tensor.name for tensor in whole.outputs]
