"""A call ends at its deadline, in every form, and leaves the model as it was."""

from dataclasses import replace
from threading import Barrier, Thread
from time import perf_counter, sleep

import numpy as np
import pytest
from support.artifacts import affine_card
from support.endless import FOREVER, X, write_driven, write_loop
from support.paths import ROOT

import odelet
from odelet import SolveError, Status
from odelet.artifact.folder import SAMPLES_FILE
from odelet.engine.ending import EndedError

OLD = ROOT / "tests" / "whole" / "artifacts-0.1"
# What a busy machine may add to a deadline, in seconds; the watch itself takes a few milliseconds.
LATE = 0.8


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A graph from outside whose loop runs as long as its caller says."""
    return odelet.load(write_loop(tmp_path_factory.mktemp("endless") / "out"))


def timed(call, *args, **named):
    """What a call returns, and the seconds that it took."""
    start = perf_counter()
    return call(*args, **named), perf_counter() - start


def first_sample(name):
    with np.load(OLD / name / SAMPLES_FILE) as samples:
        return {key.removeprefix("0/in/"): samples[key] for key in samples.files if key.startswith("0/in/")}


@pytest.mark.parametrize("name", sorted(path.parent.name for path in OLD.glob("*/odelet.json")))
def test_every_form_of_0_1_takes_a_deadline(name):
    model, inputs = odelet.load(OLD / name), first_sample(name)
    expected = model.solve(**inputs)
    assert expected.status is Status.OK
    late = model.solve(**inputs, deadline=1e-9)
    assert late.status is Status.DEADLINE
    assert late.stats.solves[0].status is Status.DEADLINE
    assert late.outputs == {}
    with pytest.raises(SolveError, match="the deadline passed") as raised:
        model(**inputs, deadline=1e-9)
    assert (raised.value.status, raised.value.solve) == (Status.DEADLINE, 0)
    for again in (model.solve(**inputs, deadline=60), model.solve(**inputs)):
        assert again.status is Status.OK
        assert again.stats == expected.stats
        assert all(np.array_equal(again.outputs[key], value) for key, value in expected.outputs.items())


@pytest.mark.parametrize("form", ["unrolled", "rolled", "adaptive"])
def test_a_loop_in_a_graph_ends_in_its_midst(tmp_path, form, capfd):
    solve = replace(affine_card().solves[0], form=form, settings={}, report={})
    model = odelet.load(write_loop(tmp_path / "out", solve=solve))
    solution, seconds = timed(model.solve, X, FOREVER, deadline=0.2)
    assert solution.status is solution.stats.solves[0].status is Status.DEADLINE
    assert solution.outputs == {}
    assert 0.2 <= seconds < 0.2 + LATE
    with pytest.raises(SolveError, match=r"solve 0 \(dopri5, affine.py:7\) stopped: the deadline passed before"):
        model(X, FOREVER, deadline=0.05)
    assert np.array_equal(model(X, 1), np.cos(X))
    assert capfd.readouterr() == ("", "")


def test_a_loop_that_is_no_solve_ends_as_well(endless):
    solution, seconds = timed(endless.solve, X, FOREVER, deadline=0.2)
    assert (solution.status, solution.stats.solves, solution.outputs) == (Status.DEADLINE, (), {})
    assert 0.2 <= seconds < 0.2 + LATE
    with pytest.raises(SolveError, match="the call stopped: the deadline passed") as raised:
        endless(X, FOREVER, deadline=0.05)
    assert (raised.value.status, raised.value.time, raised.value.solve) == (Status.DEADLINE, None, None)
    assert np.array_equal(endless(X, 1, deadline=1e300), np.cos(X))


@pytest.mark.parametrize(
    ("slow", "known"),
    [
        ("segment_0.onnx", None),
        ("solve_0_field.onnx", None),
        ("solve_0_step.onnx", None),
        ("segment_1.onnx", Status.OK),
    ],
)
def test_no_graph_of_a_driven_solve_outlasts_the_deadline(tmp_path, slow, known):
    model = odelet.load(write_driven(tmp_path / "out", slow=slow))
    solution, seconds = timed(model.solve, np.ones((2, 3), np.float32), deadline=0.1)
    assert (solution.status, solution.outputs) == (Status.DEADLINE, {})
    assert solution.stats.solves[0].status is (known or Status.DEADLINE)
    assert 0.1 <= seconds < 0.1 + LATE
    with pytest.raises(SolveError, match="the deadline passed"):
        model(np.ones((2, 3), np.float32), deadline=0.01)


def test_a_driven_solve_that_looks_at_the_clock_keeps_its_outputs(tmp_path):
    model = odelet.load(write_driven(tmp_path / "out"))
    x = np.ones((2, 3), np.float32)
    solution = model.solve(x, deadline=1e-9)
    (stats,) = solution.stats.solves
    assert (solution.status, stats.status, stats.steps, stats.time) == (Status.DEADLINE, Status.DEADLINE, 0, 0.0)
    assert np.array_equal(solution.outputs["y"], x)
    assert model.solve(x).status is Status.OK


def test_threads_with_deadlines_of_their_own_do_not_disturb_each_other(endless):
    begin, found = Barrier(9), {}

    def wait_for(seconds):
        begin.wait()
        found[seconds] = timed(endless.solve, X, FOREVER, deadline=seconds)

    def work():
        begin.wait()
        found["free"] = [endless(X, turns) for turns in range(1, 150)]

    deadlines = [0.1 + 0.1 * place for place in range(8)]
    threads = [*(Thread(target=wait_for, args=(seconds,)) for seconds in deadlines), Thread(target=work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    for seconds in deadlines:
        solution, took = found[seconds]
        assert solution.status is Status.DEADLINE
        assert seconds <= took < seconds + LATE
    expected = X
    for answer in found["free"]:
        expected = np.cos(expected)
        np.testing.assert_allclose(answer, expected, rtol=1e-6)


def test_calls_in_time_leave_nothing_behind(endless):
    for _ in range(200):
        assert endless.solve(X, 1, deadline=0.5).status is Status.OK
    sleep(0.6)
    assert endless.solve(X, 2, deadline=5).status is Status.OK
    assert endless.solve(X, FOREVER, deadline=0.05).status is Status.DEADLINE


def test_a_stream_whose_call_was_late_goes_on_from_the_call_before(endless):
    stream = endless.stream(carry={"x": "y"}, x=X)
    assert np.array_equal(stream(turns=1), np.cos(X))
    assert stream.solve(turns=FOREVER, deadline=0.05).status is Status.DEADLINE
    stream.resume()
    assert np.array_equal(stream(turns=1, deadline=60), np.cos(np.cos(X)))


def test_a_slow_step_may_end_shortly_after_the_deadline(tmp_path):
    """The outputs of a driven solve are there though the deadline passes amid a step."""
    model = odelet.load(write_driven(tmp_path / "out", slow="solve_0_step.onnx", turns=2000))
    x = np.full((2, 3), 1e-3, np.float32)
    seconds = min(timed(model.solve, x, max_steps=1)[1] for _ in range(3))
    solution = model.solve(x, deadline=seconds / 3)
    assert solution.status is Status.DEADLINE
    if seconds < 0.03:  # else the machine is too busy for the step to end in time
        assert solution.outputs["y"].shape == (2, 3)


class TestFallback:
    """Samples that a bounded solve is not good for, solved again under limits."""

    def hard(self, count):
        rng = np.random.default_rng(0)
        y0, w = (rng.normal(size=(count, *shape)) for shape in ((3,), (3, 3)))
        dtype = odelet.load(OLD / "bounded").inputs[0].dtype
        return {"y0": (5 * y0).astype(dtype), "w": (8 * w).astype(dtype)}

    @pytest.mark.parametrize(
        ("limit", "status"),
        [({"max_steps": 3}, Status.STEP_LIMIT), ({"max_evals": 20}, Status.EVALUATION_LIMIT)],
    )
    def test_a_limit_is_for_each_sample_and_the_others_get_their_answers(self, limit, status):
        model, inputs = odelet.load(OLD / "bounded"), self.hard(6)
        inputs["w"][:2] /= 40
        free = model.solve(**inputs)
        solution = model.solve(**inputs, **limit)
        assert free.status is Status.OK
        assert solution.status is solution.stats.solves[0].status is status
        assert set(solution.stats.solves[0].resolved) < set(free.stats.solves[0].resolved)
        assert solution.stats.evaluations < free.stats.evaluations
        assert solution.outputs["output"].shape == free.outputs["output"].shape
        unsolved = set(free.stats.solves[0].resolved) - set(solution.stats.solves[0].resolved)
        for row in range(6):
            same = np.array_equal(solution.outputs["output"][:, row], free.outputs["output"][:, row])
            assert same == (row not in unsolved)
        with pytest.raises(SolveError, match=rf"for {len(unsolved)} of 6 samples, the first of them sample"):
            model(**inputs, **limit)
        assert model.solve(**inputs).stats == free.stats

    def test_the_deadline_is_for_all_samples_together(self):
        model, inputs = odelet.load(OLD / "bounded"), self.hard(1500)
        bounded = model.solve(**inputs, max_steps=1).outputs["output"]
        solution, seconds = timed(model.solve, **inputs, deadline=0.3)
        (stats,) = solution.stats.solves
        assert solution.status is stats.status is Status.DEADLINE
        assert seconds < 0.3 + LATE
        assert 0 < len(stats.resolved) < len(stats.guarded)
        unsolved = [row for row in stats.guarded if row not in stats.resolved]
        assert np.array_equal(solution.outputs["output"][:, unsolved], bounded[:, unsolved])

    def test_the_last_graph_of_the_fallback_does_not_outlast_the_deadline(self, monkeypatch):
        model, inputs = odelet.load(OLD / "bounded"), self.hard(3)
        expected = model.solve(**inputs, max_steps=1)

        def ended(*_):
            raise EndedError

        monkeypatch.setattr(model._runner._fallback, "_drive", ended)
        solution = model.solve(**inputs)
        assert solution.status is Status.DEADLINE
        assert solution.stats.solves[0].resolved == ()
        assert solution.stats.steps is None
        assert np.array_equal(solution.outputs["output"], expected.outputs["output"], equal_nan=True)
