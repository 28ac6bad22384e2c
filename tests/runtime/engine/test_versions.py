"""Which versions of ONNX Runtime are refused, which are tried on samples, and which are taken as they are."""

import tomllib

import numpy as np
import onnxruntime as ort
import pytest
from support.artifacts import affine_card, affine_model, affine_samples, write, write_affine
from support.paths import ROOT

import odelet
from odelet import ArtifactError, EngineError
from odelet.artifact.needs_card import NeedsCard
from odelet.engine import versions
from odelet.engine.versions import NEWEST_TESTED, OLDEST, check_engine_version
from odelet.model import engine_check

TOO_OLD = ["1.19.2", "1.19", "1.18.1", "1.17.0+cu118", "0.9.0", "1.2.3.4"]
TESTED = ["1.20", "1.20.0", "1.24.4", "1.32.0", "1.32.9"]
UNKNOWN = ["1.33.0", "2.0.0", "1.24.0.dev20260101", "1.24.0+cu12", "1.24-nv24.05", "24.05", "main", "", "1", "v1.24.0"]


@pytest.mark.parametrize("version", TOO_OLD)
def test_a_version_that_computes_wrongly_is_refused_with_the_way_out(version):
    with pytest.raises(
        EngineError, match=rf"onnxruntime {version.replace('+', '.')} is installed.* 1\.20 .*pip install"
    ):
        check_engine_version(version=version)
    assert not versions.tested(version=version)


@pytest.mark.parametrize("version", TESTED)
def test_a_tested_version_is_taken_as_it_is(version):
    check_engine_version(version=version)
    assert versions.tested(version=version)


@pytest.mark.parametrize("version", UNKNOWN)
def test_a_version_that_is_newer_or_of_a_vendor_is_neither_refused_nor_trusted(version):
    check_engine_version(version=version)
    assert not versions.tested(version=version)


def test_the_bound_of_the_package_is_that_of_load():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"onnxruntime>={OLDEST[0]}.{OLDEST[1]}" in project["dependencies"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"onnxruntime=={NEWEST_TESTED[0]}.{NEWEST_TESTED[1]}." in pins


def test_load_refuses_an_old_engine_before_it_reads_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(ort, "__version__", "1.18.1")
    with pytest.raises(EngineError, match="onnxruntime 1.18.1 is installed"):
        odelet.load(tmp_path / "nowhere")


def test_load_refuses_an_engine_that_is_older_than_the_artifact_needs(tmp_path, monkeypatch):
    folder = write_affine(tmp_path, affine_card(needs=NeedsCard(onnxruntime="1.23", opset=23, ir=10)))
    assert odelet.load(folder).card.needs.version == (1, 23)
    monkeypatch.setattr(ort, "__version__", "1.22.1")
    with pytest.raises(EngineError, match="the artifact's graphs need 1.23 or newer"):
        odelet.load(folder)


@pytest.mark.parametrize("change", [{"onnxruntime": "new"}, {"onnxruntime": "1.20.1"}, {"opset": 0}, {"ir": -1}])
def test_needs_that_are_none_are_refused(change):
    with pytest.raises(ArtifactError, match=f"needs.{next(iter(change))}"):
        NeedsCard(**{"onnxruntime": "1.20", "opset": 20, "ir": 9} | change)


@pytest.fixture
def newer(monkeypatch):
    """An engine that is newer than those that were tested, in a process that has tried none."""
    monkeypatch.setattr(ort, "__version__", "9.9.0")
    monkeypatch.setattr(engine_check, "_tried", set())


@pytest.fixture
def wrong(tmp_path):
    """An artifact with which any engine seems to compute wrongly."""
    samples = affine_samples()
    samples["0/out/y"] *= np.float32(1.03)
    return write(tmp_path / "wrong", affine_card(), {"model.onnx": affine_model()}, samples)


def test_an_engine_that_was_not_tested_runs_the_samples_once(tmp_path, newer, monkeypatch):
    folder, runs = write_affine(tmp_path), []
    original = engine_check.run_samples
    monkeypatch.setattr(
        engine_check, "run_samples", lambda *args, **settings: runs.append(args) or original(*args, **settings)
    )
    for _ in range(3):
        odelet.load(folder)
    assert len(runs) == 1


def test_an_engine_that_gives_other_answers_answers_nothing(wrong, newer):
    for _ in range(2):  # a failure is not remembered as a success
        with pytest.raises(
            EngineError, match=r"onnxruntime 9.9.0 .* does not give torch's answers \(sample 0, y: differs"
        ):
            odelet.load(wrong)


def test_a_caller_may_do_without_and_verify_reports(wrong, newer):
    assert odelet.load(wrong, try_engine=False)(x=np.zeros((1, 3), np.float32)).shape == (1, 3)
    assert not odelet.verify(wrong).passed


def test_a_tested_engine_runs_no_samples(wrong):
    odelet.load(wrong)


def test_a_lone_file_on_an_engine_that_was_not_tested_warns(tmp_path, newer):
    folder = write_affine(tmp_path)
    with pytest.warns(RuntimeWarning, match="was loaded without samples to try it on") as caught:
        odelet.load(folder / "model.onnx")
    assert caught[0].filename == __file__
