"""What a caller is told between the steps of a solve, in every form that takes them one by one, and how a call is
ended from there."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torchdiffeq
from support.artifacts import affine_card, affine_model, write
from support.lowering import Case, captured_of, inputs, load_captured
from support.models_marked import CASES as MARKED
from support.models_marked import drawn, traced
from support.paths import ROOT
from torch import nn

import odelet
from odelet.engine.native import NativeRun
from odelet.errors import InputError, SolveError
from odelet.loops.progress import SolveProgress
from odelet.model.watching import watch_of
from odelet.status import Status
from odelet_export import export

OLD = ROOT / "tests" / "whole" / "artifacts-0.1"
TIMES = np.linspace(0, 8, 5)
CASES = {
    "driven adaptive": Case(method="dopri5", form="driven"),
    "driven fixed": Case(method="rk4", form="driven", options=(("step_size", 0.1),)),
    "driven SciPy": Case(method="scipy_solver", form="driven", options=(("solver", "RK45"),)),
    "loop_free adaptive": Case(method="dopri5", form="loop_free"),
    "loop_free fixed": Case(method="rk4", form="loop_free", options=(("step_size", 0.1),)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {name: case.load(tmp_path_factory.mktemp("progress")) for name, case in CASES.items()}


class Told(list):
    """Collects what is told; answers False from the call number `until` on."""

    def __init__(self, until=None):
        super().__init__()
        self.until = until

    def __call__(self, progress):
        self.append(progress)
        return None if self.until is None else len(self) < self.until

    def begun(self):
        return [one for one in self if one.status is None]


@pytest.mark.parametrize("name", CASES)
def test_each_step_is_told_and_the_end(name, models):
    told, x = Told(), inputs("float64", 2)
    plain, watched = models[name].solve(x, TIMES), models[name].solve(x, TIMES, progress=told)
    for key, output in plain.outputs.items():
        np.testing.assert_array_equal(watched.outputs[key], output)
    assert watched.stats == plain.stats
    (stats,) = plain.stats.solves
    *before, last = told
    assert before == told.begun()
    assert (last.status, last.steps, last.evaluations, last.share) == (Status.OK, stats.steps, stats.evaluations, 1.0)
    assert {one.solve for one in told} == {0}
    if name == "driven SciPy":
        assert [one.evaluations for one in before] == list(range(stats.evaluations))
        return
    assert [one.steps for one in before] == list(range(stats.steps))
    shares = [one.share for one in before]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] < 1
    if name == "loop_free fixed":
        assert {one.most for one in before} == {stats.steps}
        return
    assert {(one.start, one.end) for one in before} == {(0.0, 8.0)}
    assert [one.time for one in before] == sorted(one.time for one in before)


@pytest.mark.parametrize("name", ["driven adaptive", "loop_free adaptive"])
def test_times_run_as_those_of_the_model(name, models):
    told = Told()
    models[name].solve(inputs("float64", 2), TIMES[::-1].copy(), progress=told)
    times = [one.time for one in told.begun()]
    assert times[0] == 8.0
    assert times == sorted(times, reverse=True)
    assert all(0 <= one.share < 1 for one in told.begun())


@pytest.mark.parametrize("name", CASES)
def test_false_ends_the_call_as_a_deadline_does(name, models):
    told, x = Told(until=4), inputs("float64", 2)
    cut = models[name].solve(x, TIMES, progress=told)
    assert cut.status is Status.CANCELLED
    assert len(told) == 5
    assert told[-1].status is Status.CANCELLED
    (stats,) = cut.stats.solves
    assert stats.status is Status.CANCELLED
    if name == "loop_free fixed":
        assert not cut.outputs
        return
    rows = next(iter(cut.outputs.values()))
    np.testing.assert_array_equal(rows[0], x)
    if name != "driven SciPy":
        assert (stats.steps, stats.time) == (3, told[3].time)
    with pytest.raises(SolveError, match="the function given as progress ended the call") as raised:
        models[name](x, TIMES, progress=Told(until=1))
    assert raised.value.status is Status.CANCELLED
    assert models[name].solve(x, TIMES).status is Status.OK


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, KeyError, KeyboardInterrupt])
@pytest.mark.parametrize("name", CASES)
def test_what_the_function_raises_goes_to_the_caller(name, kind, models):
    def progress(step):
        if step.evaluations or step.steps:
            raise kind("stop")

    with pytest.raises(kind, match="stop"):
        models[name](inputs("float64", 2), TIMES, progress=progress)
    assert models[name].solve(inputs("float64", 2), TIMES).status is Status.OK


class TwoSolves(nn.Module):
    def forward(self, x, t):
        first = torchdiffeq.odeint(lambda t, y: -y, x, t, method="dopri5")
        return torchdiffeq.odeint(lambda t, y: torch.sin(y), first[-1], t, method="bosh3")


@pytest.fixture(scope="module")
def two_solves():
    return captured_of(TwoSolves(), torch.rand(2, 3), torch.linspace(0, 2, 3))


@pytest.mark.parametrize("form", ["driven", "loop_free"])
def test_solves_are_told_in_their_order_and_none_begins_after_the_end(form, two_solves, tmp_path):
    x, t = torch.rand(2, 3), torch.linspace(0, 2, 3)
    model, told = load_captured(two_solves, form, tmp_path / "out"), Told()
    model.solve(x.numpy(), t.numpy(), progress=told)
    assert [one.solve for one in told.begun()] == sorted(one.solve for one in told.begun())
    assert [(one.solve, one.status) for one in told if one.status] == [(0, Status.OK), (1, Status.OK)]
    told = Told(until=2)
    cut = model.solve(x.numpy(), t.numpy(), progress=told)
    assert cut.status is Status.CANCELLED
    assert len(told.begun()) == 2
    first, second = (solve.status for solve in cut.stats.solves)
    assert first is Status.CANCELLED
    # Where the loop is between graphs, the first solve leaves NaN at the times that it did not reach.
    assert second is (Status.CANCELLED if form == "driven" else Status.NOT_FINITE)
    # The end of a solve is told before the next one begins, and may end the call, too.
    log = []
    model.solve(x.numpy(), t.numpy(), progress=lambda now: log.append(now) or (now.solve, now.status) != (0, Status.OK))
    ends = [now.status for now in log if now.solve == 0]
    assert ends[-1] is Status.OK
    assert [now.solve for now in log] == sorted(now.solve for now in log)
    assert not [now for now in log if now.solve == 1 and now.status is None]


class Threefold(nn.Module):
    """An adaptive solve, one of fixed steps and another adaptive one, each from the end of the one before or not."""

    def __init__(self, chained):
        super().__init__()
        self.chained = chained

    def forward(self, x, t):
        first = torchdiffeq.odeint(lambda t, y: -y, x, t, method="dopri5")
        start = first[-1] if self.chained else x
        second = torchdiffeq.odeint(lambda t, y: -y * y, start, t, method="rk4", options={"step_size": 0.05})
        start = second[-1] if self.chained else x
        return first, second, torchdiffeq.odeint(lambda t, y: torch.sin(y), start, t, method="bosh3")


def stopping(solve):
    """A function that ends the call at the third step of a solve."""
    return lambda now: (now.solve, now.status, now.steps) != (solve, None, 2)


@pytest.mark.parametrize("chained", [True, False])
def test_the_solve_that_was_stopped_is_the_one_that_is_named(chained, tmp_path):
    x, t = torch.rand(2, 3), torch.linspace(0, 2, 3)
    captured, arrays = captured_of(Threefold(chained), x, t), (x.numpy(), t.numpy())
    for form in ("loop_free", "driven"):
        model = load_captured(captured, form, tmp_path / form)
        full = model.solve(*arrays).stats.solves
        for solve in range(3):
            cut = model.solve(*arrays, progress=stopping(solve))
            assert cut.status is cut.stats.solves[solve].status is Status.CANCELLED
            assert cut.stats.solves[solve].steps == 2
            statuses = {one.status for one in cut.stats.solves}
            assert statuses <= {Status.OK, Status.CANCELLED, Status.NOT_FINITE}
            if chained:
                assert cut.stats.solves[:solve] == full[:solve]
            with pytest.raises(SolveError, match=f"^solve {solve} ") as raised:
                model(*arrays, progress=stopping(solve))
            assert raised.value.status is Status.CANCELLED
        late = model.solve(*arrays, deadline=1e-9)
        assert [one.status for one in (late, *late.stats.solves)] == [Status.DEADLINE] * 4


class Nested(nn.Module):
    """A solve whose field solves twice for its slope, with more steps than the solve itself."""

    def field(self, t, y):
        times = torch.tensor([0.0, 0.5])
        first = torchdiffeq.odeint(lambda t, y: -y, y, times, method="dopri5", rtol=1e-5, atol=1e-6)[-1]
        return torchdiffeq.odeint(lambda t, y: -y, first, times, method="rk4", options={"step_size": 0.01})[-1] - y

    def forward(self, x, t):
        return torchdiffeq.odeint(self.field, x, t, method="bosh3", rtol=1e-3, atol=1e-3)


def test_solves_inside_a_field_are_neither_told_nor_limited(tmp_path):
    x, t = torch.rand(2, 3), torch.linspace(0, 2, 3)
    told = {}
    for form in ("loop_free", "driven"):
        export(Nested(), (x, t), tmp_path / form, form=form, quick=True, samples=1)
        model, log = odelet.load(tmp_path / form), Told()
        solve = partial(model.solve, x.numpy(), t.numpy())
        (stats,) = solve(progress=log).stats.solves
        told[form] = [(one.solve, one.steps, one.status, one.evaluations) for one in log]
        assert len(log) == stats.steps + 1
        cut = solve(progress=lambda now: False)
        assert (cut.status, cut.stats.solves[0].steps) == (Status.CANCELLED, 0)
        cut = solve(max_evals=stats.evaluations - 1)
        assert (cut.status, cut.stats.solves[0].steps) == (Status.EVALUATION_LIMIT, stats.steps - 1)
        assert solve(max_evals=stats.evaluations).status is Status.OK
        assert solve(deadline=1e-9).status is Status.DEADLINE
    assert told["loop_free"] == told["driven"]


@pytest.mark.parametrize("kind", ["adaptive", "fixed"])
def test_a_deadline_that_is_over_stops_before_the_first_turn(kind, models):
    for form in ("loop_free", "driven"):
        cut = models[f"{form} {kind}"].solve(inputs("float64", 2), TIMES, deadline=1e-9)
        assert (cut.status, cut.stats.solves[0].steps) == (Status.DEADLINE, 0)


@pytest.mark.parametrize("answer", [False, np.False_, np.array(False), torch.tensor(False)], ids=repr)
def test_every_kind_of_false_ends_the_call(answer, models):
    for name in ("driven adaptive", "loop_free adaptive"):
        assert models[name].solve(inputs("float64", 2), TIMES, progress=lambda _: answer).status is Status.CANCELLED


@pytest.mark.parametrize("answer", [None, True, np.True_, 0, 0.0, "", [], np.int64(0), np.zeros(2, bool)], ids=repr)
def test_no_other_answer_ends_the_call(answer, models):
    assert models["driven adaptive"].solve(inputs("float64", 2), TIMES, progress=lambda _: answer).status is Status.OK


def test_a_stream_tells_each_of_its_calls(models):
    told = Told()
    stream = models["driven adaptive"].stream(x=inputs("float64", 2), progress=told)
    for times in (TIMES[:2], TIMES[2:4], TIMES[4:]):
        stream(t=times)
    assert [(one.start, one.end) for one in told if one.status] == [(0.0, 2.0), (2.0, 6.0), (6.0, 8.0)]
    assert [one.steps for one in told] == sorted(one.steps for one in told)
    stream = models["driven adaptive"].stream(x=inputs("float64", 2), progress=Told(until=2))
    assert stream.solve(t=TIMES).status is Status.CANCELLED
    with pytest.raises(InputError, match="the solve of this stream has ended .CANCELLED"):
        stream.solve(t=TIMES + 9)
    with pytest.raises(InputError, match=r"progress is a setting of the whole solve of this stream; give it to model"):
        models["driven adaptive"].stream(x=inputs("float64", 2)).solve(t=TIMES, progress=print)


def test_forms_that_end_inside_a_graph_are_refused(tmp_path):
    model = replace(CASES["driven adaptive"], form="adaptive").load(tmp_path / "adaptive")
    with pytest.raises(InputError, match="of the form 'adaptive', end inside its graphs.*'loop_free' or 'driven'"):
        model(inputs("float64", 2), TIMES, progress=print)


def test_a_library_that_takes_all_steps_in_one_call_is_refused(models):
    library = object.__new__(NativeRun)
    with pytest.raises(InputError, match="all steps in one call; load the model with engine='onnxruntime'"):
        watch_of(print, models["loop_free adaptive"].card, [library])


def test_a_progress_that_is_no_function_is_refused(models):
    with pytest.raises(InputError, match="progress=3 must be a function of one argument"):
        models["driven adaptive"](inputs("float64", 2), TIMES, progress=3)


def test_the_share_is_known_by_time_or_by_steps():
    assert SolveProgress(steps=3, most=4).share == 0.75
    assert SolveProgress(time=0.0, start=1.0, end=-1.0).share == 0.5
    assert SolveProgress(time=9.0, start=0.0, end=3.0).share == 1.0
    assert SolveProgress(time=0.5, start=0.0).share is None
    assert SolveProgress(status=Status.OK).share == 1.0


def test_the_fallback_tells_which_sample_it_solves_again_and_begins_none_after_the_end():
    model, rng, count = odelet.load(OLD / "bounded"), np.random.default_rng(0), 40
    dtype = model.inputs[0].dtype
    hard = {"y0": 5 * rng.normal(size=(count, 3)), "w": 8 * rng.normal(size=(count, 3, 3))}
    hard = {name: x.astype(dtype) for name, x in hard.items()}
    told = Told()
    (stats,) = model.solve(**hard, progress=told).stats.solves
    assert len(stats.resolved) > 2
    assert [one.sample for one in told if one.status] == list(stats.resolved)
    first = [one for one in told if one.sample == stats.resolved[0]]
    cut = model.solve(**hard, progress=Told(until=len(first) + 3))
    (part,) = cut.stats.solves
    assert (cut.status, part.resolved) == (Status.CANCELLED, stats.resolved[:1])
    bounded, full = model.solve(**hard, max_steps=1), model.solve(**hard)
    for key, rows in cut.outputs.items():
        done = list(part.resolved)
        others = [i for i in range(count) if i not in done]
        np.testing.assert_array_equal(rows[:, done], full.outputs[key][:, done])
        np.testing.assert_array_equal(rows[:, others], bounded.outputs[key][:, others])


@pytest.mark.parametrize("form", ["driven", "loop_free"])
def test_turns_of_an_iteration_are_told_and_samples_by_the_slowest(form, tmp_path):
    captured, _ = traced("anderson", torch.float64)
    model, told = load_captured(captured, form, tmp_path / "turns"), Told()
    x = drawn((3, *MARKED["anderson"][1][1:]), seed=3, dtype=torch.float64).numpy()
    (stats,) = model.solve(x, progress=told).stats.solves
    turns = max(stats.samples.steps) if stats.samples else stats.steps
    assert [one.steps for one in told.begun()] == list(range(turns))
    assert {one.time for one in told} == {None}
    cut, limited = model.solve(x, progress=Told(until=4)), model.solve(x, max_steps=3)
    assert cut.status is Status.CANCELLED
    np.testing.assert_array_equal(cut.outputs["output"], limited.outputs["output"])
    captured = captured_of(Decay(), torch.rand(3, 2), dynamic={"x": {0: "batch"}}, per_sample=True)
    model, told = load_captured(captured, form, tmp_path / "rows"), Told()
    model.solve(np.array([[0.1, 0.2], [3, 2], [30, 40]], np.float32), progress=told)
    times = [one.time for one in told.begun()]
    assert times == sorted(times)
    assert times[0] == 0.0
    assert {(one.start, one.end) for one in told.begun()} == {(0.0, 2.0)}


class Decay(nn.Module):
    def forward(self, x):
        return torchdiffeq.odeint(lambda t, y: -y * torch.sin(y + t), x, torch.tensor([0.0, 1.0, 2.0]), method="dopri5")


def test_an_input_of_the_name_goes_to_the_model_of_an_older_artifact(tmp_path):
    card = affine_card(inputs=(replace(affine_card().inputs[0], name="progress"),))
    graph = affine_model(card)
    graph.graph.input[0].name = graph.graph.node[0].input[0] = "progress"
    model = odelet.load(write(tmp_path, card, {"model.onnx": graph}))
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(model(progress=x), model(x))
