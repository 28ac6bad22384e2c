"""What a call returns: outputs, statistics, and the status of each solve."""

import pickle
from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from support.artifacts import (
    affine_card,
    affine_model,
    driven_card,
    driven_models,
    model_bytes,
    write,
    write_affine,
    write_pair,
)

import odelet
from odelet import SolveError, Status
from odelet.errors import ArtifactError
from odelet.loops.limits import Limits
from odelet.loops.solution import Solution
from odelet.loops.stats import SolveStats, Stats, status_of

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def affine(tmp_path_factory):
    return odelet.load(write_affine(tmp_path_factory.mktemp("affine")))


class TestStatistics:
    def test_of_an_adaptive_solve(self, affine):
        solution = affine.solve(X)
        assert solution.raise_if_failed() is solution
        assert list(solution.outputs) == ["y"]
        expected = SolveStats(0, "dopri5", "adaptive", 5, 4, 1, 32, Status.OK, 1e-3 + 1e-4, "affine.py:7")
        assert solution.stats == Stats((expected,))
        assert (solution.stats.steps, solution.stats.accepted, solution.stats.rejected) == (5, 4, 1)
        assert solution.stats.evaluations == 32

    def test_of_a_fixed_step_solve_that_reports_nothing(self, tmp_path):
        solve = replace(affine_card().solves[0], form="unrolled", steps=9, settings={}, report={})
        solution = odelet.load(write_affine(tmp_path, affine_card(form="unrolled", solves=(solve,)))).solve(X)
        expected = SolveStats(0, "dopri5", "unrolled", 9, 9, 0, 56, Status.OK, None, "affine.py:7")
        assert solution.stats.solves == (expected,)

    def test_what_is_not_known_is_none(self, tmp_path):
        solve = replace(affine_card().solves[0], settings={}, report={"steps": "solve_0.steps"}, evaluations=None)
        stats = odelet.load(write_affine(tmp_path, affine_card(solves=(solve,)))).solve(X).stats
        assert (stats.steps, stats.accepted, stats.rejected, stats.evaluations) == (5, None, None, None)

    def test_of_no_solve(self, tmp_path):
        pair = odelet.load(write_pair(tmp_path))
        stats = pair.solve(np.ones((1, 2), np.float32), [[1]], 1, [True]).stats
        assert (stats.solves, stats.steps, stats.evaluations) == ((), 0, 0)


class TestFailure:
    def test_solve_tells_and_a_call_raises(self, affine):
        solution = affine.solve(X, max_steps=3)
        assert solution.status is Status.STEP_LIMIT
        assert solution.stats.solves[0].steps == 3
        message = r"solve 0 \(dopri5, affine.py:7\) stopped at time 0.0011: the step limit .*; raise max_steps"
        with pytest.raises(SolveError, match=message) as raised:
            affine(X, max_steps=3)
        error = pickle.loads(pickle.dumps(raised.value))
        assert (error.status, error.solve, str(error)) == (Status.STEP_LIMIT, 0, str(raised.value))
        assert error.time == pytest.approx(1.1e-3)

    def test_every_status_has_a_sentence_and_advice(self):
        assert [status_of(code) for code in range(len(Status))] == list(Status)
        assert all(status.sentence for status in Status)
        assert all(status.advice for status in Status if status not in (Status.OK, Status.EVENT))
        assert [status.value for status in Status][:4] == [0, 1, 2, 3]

    def test_a_status_that_is_not_known(self):
        with pytest.raises(ArtifactError, match="ended with status 99, .*pip install --upgrade odelet"):
            status_of(99)

    def test_a_solve_that_does_not_know_its_time_or_source(self):
        failed = SolveStats(2, "rk4", "driven", None, None, None, None, Status.NOT_FINITE, None)
        with pytest.raises(SolveError, match=r"^solve 2 \(rk4\) stopped: the state became infinite or NaN; check"):
            Solution({}, Stats((failed,)), Status.NOT_FINITE).raise_if_failed()


class TestDriven:
    @pytest.fixture
    def calls(self, monkeypatch):
        calls = []

        def drive_solve(card, graphs, values, request, *, device):
            calls.append((request.rtol, request.atol, request.limits, device, sorted(values)))
            status = Status.STEP_LIMIT if request.limits.max_steps == 1 else Status.OK
            stats = SolveStats(0, card.method, "driven", 4, 3, 1, 26, status, 1.0, card.source)
            y0 = values["solve_0.y0.0"]
            return [np.stack([y0, y0 + 1])], stats, None

        monkeypatch.setattr("odelet.model.runner.drive_solve", drive_solve)
        return calls

    @pytest.fixture
    def model(self, tmp_path):
        return odelet.load(write(tmp_path, driven_card(), driven_models()))

    def test_the_driver_gets_the_values_and_gives_the_solution(self, model, calls):
        solution = model.solve(X)
        np.testing.assert_array_equal(solution.outputs["y"], X + 1)
        assert solution.stats.solves == (SolveStats(0, "dopri5", "driven", 4, 3, 1, 26, Status.OK, 1.0, "driven.py:3"),)
        limits = Limits()
        assert calls == [(None, None, limits, "cpu", ["context", "solve_0.t", "solve_0.y0.0", "x"])]

    def test_settings_go_to_the_driver(self, model, calls):
        model(X, rtol=np.float32(0.5), atol=1, max_steps=np.int32(9), max_evals=70, deadline=60)
        rtol, atol, limits, *_ = calls[0]
        assert (rtol, atol, limits.max_steps, limits.max_evals) == (0.5, 1.0, 9, 70)
        assert 50 < limits.deadline - perf_counter() < 60

    def test_with_the_driver_itself(self, model):
        # The step graph adds a slope that it never renews and estimates no error, so that any number of steps will do.
        solution = model.solve(X)
        (stats,) = solution.stats.solves
        assert (stats.status, stats.source, stats.rejected) == (Status.OK, "driven.py:3", 0)
        assert solution.outputs["y"].shape == X.shape
        assert model.solve(X, max_steps=1).status is Status.STEP_LIMIT
        early = model.solve(X, max_evals=1)
        assert early.status is Status.EVALUATION_LIMIT
        assert early.outputs["y"].shape == X.shape, "what was reached goes through the rest of the model"
        with pytest.raises(SolveError, match="limit of field evaluations"):
            model(X, max_evals=1)

    @pytest.mark.usefixtures("calls")
    def test_the_program_stops_at_a_failure(self, model):
        solution = model.solve(X, max_steps=1)
        assert (solution.outputs, solution.status) == ({}, Status.STEP_LIMIT)
        with pytest.raises(SolveError, match=r"solve 0 \(dopri5, driven.py:3\) stopped at time 1"):
            model(X, max_steps=1)


def test_what_a_model_says_of_itself(affine):
    assert affine.inputs == affine.card.inputs
    assert affine.outputs == affine.card.outputs
    assert repr(affine) == "<odelet.Model Affine (adaptive): x: float32 [batch, 3] -> y: float32 [batch, 3]>"


def test_the_lone_file_reports_too(tmp_path):
    (tmp_path / "any.onnx").write_bytes(model_bytes(affine_model()))
    assert odelet.load(tmp_path / "any.onnx", threads=2).solve(X).stats.steps == 5
