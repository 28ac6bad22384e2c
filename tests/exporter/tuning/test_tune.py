"""`odelet tune`: each row is right for its candidate, the choice is the cheapest, and nothing is measured twice."""

import json
import shlex
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import call, one_line
from torchdiffeq import odeint

import odelet
from odelet import InputError
from odelet_export import FormError, TargetError, export, mark, tune
from odelet_export.capture import cache as cache_module
from odelet_export.capture.cache import capturing_once
from odelet_export.lowering.forms import FORMS
from odelet_export.tuning import halving, measure, native
from odelet_export.tuning import tune as tune_module
from odelet_export.tuning.candidates import TRIED, Candidate, Solves, candidates
from odelet_export.tuning.measure import Shelf
from odelet_export.tuning.pareto import draw
from odelet_export.tuning.record import Row, read_record
from odelet_export.tuning.settings import Tried

MODEL = '''
import numpy as np
import torch
from torchdiffeq import odeint

class Swing(torch.nn.Module):
    """A pendulum's, with a pace for each sample; exact where `pace` is none."""

    def __init__(self, speed=1.0):
        super().__init__()
        self.speed = torch.nn.Parameter(torch.tensor(speed, dtype=torch.float64))

    def forward(self, x, pace):
        def field(t, y):
            return torch.stack([y[:, 1], -torch.sin(y[:, 0])], 1) * pace[:, None] * self.speed

        return odeint(field, x, torch.tensor([0.0, 2.0], dtype=x.dtype), method="dopri5", rtol=1e-4, atol=1e-5)[-1]

def build():
    return Swing()

def faster():
    return Swing(1.5)

def upward(outputs, data):
    return np.mean((outputs["output"][:, 0] > 0) == data["labels"])

def broken(outputs, data):
    raise KeyError("surely")

def wordy(outputs, data):
    return "good"
'''
QUICK = {
    "methods": ["euler", "rk4", "dopri5"],
    "forms": ["unrolled", "adaptive"],
    "steps": [1, 8],
    "tolerances": [1e-2, 1e-6],
}


@pytest.fixture(autouse=True)
def short(short_timings, monkeypatch):
    """No test here depends on exact times, and no libraries are built, which test_native.py does."""
    monkeypatch.setattr(native, "MOST", 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    file = tmp_path_factory.mktemp("tuned") / "swing.py"
    file.write_text(MODEL)
    return file


@pytest.fixture(scope="module")
def swing(source):
    names = {}
    exec(compile(MODEL, str(source), "exec"), names)
    return names


def data(count=26, **changes):
    generator = np.random.default_rng(0)
    arrays = {"x": generator.normal(size=(count, 2)), "pace": generator.uniform(0.5, 2, count)}
    return {**arrays, "labels": generator.random(count) < 0.5, **changes}


@pytest.fixture(scope="module")
def tuned(swing, tmp_path_factory):
    """A finished tuning, and its model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "QUICK", (0.0, 2))
        patch.setattr(measure, "LONG", (0.0, 2))
        patch.setattr(native, "MOST", 0)
        model = swing["build"]()
        out = tmp_path_factory.mktemp("out") / "tune"
        return tune(model, data(), out, target=1e-4, metric=swing["upward"], **QUICK), model


@pytest.fixture
def captured(monkeypatch):
    """Share one capture of the model of `build` between tests; each tuning still lowers and measures it anew."""

    @contextmanager
    def shared():
        with monkeypatch.context() as patch:
            patch.setattr(cache_module, "_cache", ContextVar("cache", default=SHARED))
            yield SHARED

    monkeypatch.setattr(tune_module, "capturing_once", shared)


SHARED = cache_module.CaptureCache()


@cache
def solutions(speed, count):
    """The model's answers, computed without odelet: one sample at a time, at a tolerance of 1e-11."""
    arrays = data(count)
    rows = []
    for x, pace in zip(arrays["x"], arrays["pace"], strict=True):

        def field(t, y, pace=pace):
            return torch.stack([y[1], -torch.sin(y[0])]) * pace * speed

        times = torch.tensor([0.0, 2.0], dtype=torch.float64)
        rows.append(odeint(field, torch.tensor(x), times, rtol=1e-11, atol=1e-11)[-1].numpy())
    return np.array(rows)


def errors(artifact, arrays):
    """The error of each sample and the mean number of evaluations, with one call of the artifact for each sample."""
    want = solutions(1.0, len(arrays["x"]))
    sample_errors, evaluations = [], []
    for i in range(len(want)):
        solution = artifact.solve(arrays["x"][i : i + 1], arrays["pace"][i : i + 1])
        sample_errors.append(np.abs(solution.outputs["output"][0] - want[i]).max() / np.abs(want).max())
        evaluations.append(solution.stats.evaluations)
    return np.array(sample_errors), np.mean(evaluations)


class TestRows:
    def test_each_row_has_the_errors_and_evaluations_of_its_candidate(self, tuned, tmp_path):
        tuning, model = tuned
        arrays = data()
        assert len(tuning.complete) >= 4
        example = (torch.tensor(arrays["x"][:3]), torch.tensor(arrays["pace"][:3]))
        dynamic = {"x": {0: "batch"}, "pace": {0: "batch"}}
        with capturing_once():
            for row in tuning.complete:
                export(model, example, tmp_path / "a", dynamic=dynamic, samples=1, **row.candidate.options)
                sample_errors, evaluations = errors(odelet.load(tmp_path / "a"), arrays)
                assert row.error == pytest.approx(sample_errors.max(), rel=1e-4, abs=2e-8)
                assert row.mean_error == pytest.approx(sample_errors.mean(), rel=1e-4, abs=2e-8)
                assert row.evaluations == pytest.approx(evaluations)

    def test_known_solvers_have_known_numbers_of_evaluations(self, tuned):
        rows = {(row.candidate.method, row.candidate.steps): row for row in tuned[0].rows}
        assert rows["rk4", 8].evaluations == 32
        assert rows["euler", 1].evaluations == 1
        assert rows["rk4", 8].error < rows["rk4", 1].error < rows["euler", 1].error

    def test_the_metric_is_computed_on_all_samples(self, tuned, swing):
        tuning, model = tuned
        arrays = data()
        want = swing["upward"]({"output": solutions(1.0, 26)}, arrays)
        assert tuning.record.reference["metric"] == pytest.approx(want)
        assert next(row for row in tuning.complete if row.error < 1e-5).metric == pytest.approx(want)

    def test_the_choice_is_the_cheapest_that_meets_the_target(self, tuned):
        tuning, _ = tuned
        good = [row for row in tuning.complete if row.error <= 1e-4]
        assert tuning.choice == min(good, key=lambda row: row.milliseconds)
        assert tuning.record.chosen == tuning.choice.candidate
        # No candidate that left early was better than the choice.
        left = [row for row in tuning.rows if row.calls < tuning.calls]
        assert not [row for row in left if row.worst <= 1e-4 and row.time < tuning.choice.time]

    def test_the_unchanged_model_is_measured_on_all_calls(self, tuned):
        assert {row.candidate.form for row in tuned[0].complete if row.candidate.method is None} == {"adaptive"}

    def test_the_record_describes_the_reference(self, tuned):
        reference = tuned[0].record.reference
        assert (reference["method"], reference["dtype"], reference["together"]) == ("dopri8", "float64", True)
        assert 0 < reference["uncertainty"] < 1e-6


class TestFiles:
    def test_the_table_has_all_rows_and_the_choice_is_marked(self, tuned):
        tuning, _ = tuned
        page = (tuning.folder / "tune.md").read_text()
        lines = [line for line in page.splitlines() if line.startswith("| ")]
        rows = [line for line in lines if not line.startswith(("| method", "| calls"))]
        assert len(rows) == len([row for row in tuning.rows if row.worst < inf])
        (chosen,) = [line for line in rows if line.startswith("| **")]
        assert f"**{tuning.choice.candidate.method}**" in chosen
        assert "dopri8 at rtol = atol = 1e-09" in page

    def test_the_record_reads_back_with_versions_and_machine(self, tuned):
        tuning, _ = tuned
        assert read_record(tuning.folder) == tuning.record
        stored = json.loads((tuning.folder / "tune.json").read_text())
        assert {"torch", "onnxruntime", "odelet"} <= stored["identity"]["versions"].keys()
        assert stored["identity"]["machine"]["cores"] >= 1
        assert stored["finished"] is True
        assert not (tuning.folder / ".artifacts").exists()

    def test_the_picture_has_a_mark_for_each_row_and_the_choice(self, tuned):
        tuning, _ = tuned
        assert (tuning.folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
        lines = {line.get_label(): line for line in draw(tuning).axes[0].lines}
        marks = sum(len(line.get_xdata()) for name, line in lines.items() if " " in name)
        assert marks == len([row for row in tuning.rows if row.worst < inf])
        assert lines["_chosen"].get_xdata() == [tuning.choice.milliseconds]
        assert lines["_target"].get_ydata()[0] == 1e-4
        front = lines["_front"]
        assert (np.diff(front.get_xdata()) > 0).all() and (np.diff(front.get_ydata()) < 0).all()

    def test_without_matplotlib_only_the_picture_is_missing(self, swing, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        tuning = tune(swing["build"](), data(4), tmp_path, target=1e-2, methods=["rk4"], forms=["unrolled"], steps=[4])
        assert tuning.choice is not None
        assert "pareto" not in (tmp_path / "tune.md").read_text()
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "calibration.npz",
            "example.npz",
            "tune.json",
            "tune.md",
        ]


class Interrupt(Exception):
    """Stops a tuning in the middle."""


@pytest.mark.usefixtures("captured")
class TestResume:
    def test_an_interrupted_run_continues_and_gives_the_same_rows(self, tuned, swing, tmp_path):
        whole, model = tuned
        reports = []

        def tell(stage, done, count, what):
            reports.append(what)
            if len([one for one in reports if one]) > 5:
                raise Interrupt

        settings = {"target": 1e-4, "metric": swing["upward"], **QUICK}
        with pytest.raises(Interrupt):
            tune(model, data(), tmp_path, **settings, tell=tell)
        before = read_record(tmp_path)
        assert len(before.rows) == 5
        assert before.finished is False
        again = tune(model, data(), tmp_path, **settings)
        assert again.record.rows[:5] == before.rows
        assert again.fresh == len(again.record.rows) - 5

        def facts(rows):
            return {
                (row.candidate, row.calls): (row.error, row.mean_error, row.metric, row.evaluations, row.note)
                for row in rows
            }

        both = facts(again.record.rows), facts(whole.record.rows)
        shared = both[0].keys() & both[1].keys()
        assert len(shared) > 5
        assert all(both[0][key] == both[1][key] for key in shared)

    def test_stored_rows_are_not_measured_again(self, tuned, swing):
        whole, model = tuned
        again = tune(model, data(), whole.folder, target=1e-4, metric=swing["upward"], **QUICK)
        assert again.fresh == 0
        assert again.record == whole.record

    def test_another_target_uses_the_stored_rows(self, tuned, swing):
        whole, model = tuned
        loose = tune(model, data(), whole.folder, target=0.5, metric=swing["upward"], **QUICK)
        assert loose.record.rows[: len(whole.record.rows)] == whole.record.rows
        assert loose.choice.milliseconds <= whole.choice.milliseconds
        tune(model, data(), whole.folder, target=1e-4, metric=swing["upward"], **QUICK)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"data": data(27)}, "another data"),
            ({"metric": None}, "another metric"),
            ({"threads": 2}, "another settings"),
        ],
    )
    def test_a_record_of_other_data_or_settings_is_refused(self, tuned, swing, changes, message):
        whole, _ = tuned
        before = (whole.folder / "tune.json").read_bytes()
        model = swing["build"]()
        arrays = changes.get("data", data())
        settings = {"metric": swing["upward"], "target": 1e-4}
        settings |= {key: value for key, value in changes.items() if key != "data"}
        with pytest.raises(InputError, match=f"{message}.*begin anew with --anew"):
            tune(model, arrays, whole.folder, **settings, **QUICK)
        assert (whole.folder / "tune.json").read_bytes() == before

    @pytest.mark.parametrize("text", ["", "{", '{"format": 1}', "[]", '{"format": 1, "identity": NaN}'])
    def test_a_damaged_record_is_refused(self, swing, tmp_path, text):
        (tmp_path / "tune.json").write_text(text)
        with pytest.raises(InputError, match=r"tune\.json is damaged: .*begin anew with --anew"):
            tune(swing["build"](), data(), tmp_path, target=1e-4)
        assert (tmp_path / "tune.json").read_text() == text

    def test_a_record_of_a_later_format_is_refused(self, tuned, tmp_path):
        text = tuned[0].record.to_json().replace('"format": 1', '"format": 2')
        (tmp_path / "tune.json").write_text(text)
        with pytest.raises(InputError, match="has the format 2; this odelet has 1"):
            read_record(tmp_path)


def test_a_record_of_another_model_is_refused(tuned, swing):
    whole, _ = tuned
    with pytest.raises(InputError, match=r"another model \(.*\.\.\. then, .*\.\.\. now\), so its rows"):
        tune(swing["faster"](), data(), whole.folder, target=1e-4, metric=swing["upward"], **QUICK)


@pytest.mark.usefixtures("captured")
def test_a_target_that_is_missed_names_the_nearest_candidate(swing, tmp_path):
    settings = {"methods": ["euler"], "forms": ["unrolled"], "steps": [1, 2]}
    tuning = tune(swing["build"](), data(8), tmp_path, target=1e-3, **settings)
    assert tuning.choice is None
    assert tuning.record.chosen is None
    assert tuning.nearest.candidate.steps == 2
    message = r"nothing .* error of at most 0\.001; the nearest is euler, 2 steps, unrolled: error \d+\.\d+"
    with pytest.raises(TargetError, match=message) as raised:
        tuning.raise_if_none()
    assert raised.value.exit_code == 3
    assert raised.value.nearest == tuning.nearest
    assert "Nothing that was tried" in (tmp_path / "tune.md").read_text()
    # These candidates are exact enough, but slower than the budget.
    late = tune(swing["build"](), data(8), tmp_path, target=3.0, budget_ms=1e-9, **settings)
    assert late.choice is None
    with pytest.raises(TargetError, match="in at most 1e-09 ms; the nearest is euler, [12] step"):
        late.raise_if_none()


def test_only_artifacts_of_a_run_are_removed(tmp_path):
    shelf, names = Shelf(None, tmp_path / "shelf", threads=1), ["0123456789abcdef", ".odelet-0123456789abcdef.a1b2c3d4"]
    shelf.clear()
    for name in (*names, "mine", "0123456789abcdef.mine"):
        (tmp_path / "shelf" / name).mkdir(parents=True)
    shelf.clear()
    assert sorted(path.name for path in (tmp_path / "shelf").iterdir()) == ["0123456789abcdef.mine", "mine"]
    for name in ("mine", "0123456789abcdef.mine"):
        (tmp_path / "shelf" / name).rmdir()
    shelf.clear()
    assert not (tmp_path / "shelf").exists()


@pytest.mark.usefixtures("captured")
class TestBadData:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"x": np.full((26, 2), np.nan)}, "data: 'x' holds 52 numbers that are NaN or infinite"),
            ({"x": np.zeros((0, 2)), "pace": np.zeros(0)}, r"data: 'x' is empty, of shape \[0, 2\]"),
            ({"pace": np.ones(25)}, "'pace' must be batched"),
            ({"x": np.array([["a", "b"]] * 26)}, "data: 'x' is <U1, which is not one of"),
        ],
    )
    def test_bad_arrays_are_refused_by_name_and_leave_no_folder(self, swing, tmp_path, changes, message):
        if "batched" in message:
            changes, message = {**changes}, "data: 'x' has 26 samples and 'pace' has 25"
            dynamic = {"x": {0: "batch"}, "pace": {0: "batch"}}
        else:
            dynamic = None
        with pytest.raises(InputError, match=message):
            tune(swing["build"](), data(**changes), tmp_path / "out", target=1e-3, dynamic=dynamic)
        assert not (tmp_path / "out").exists()

    def test_arrays_must_have_the_names_of_the_inputs(self, swing, tmp_path):
        with pytest.raises(InputError, match=r"none of its arrays \(a\) is an input of the model, which takes x, pace"):
            tune(swing["build"](), {"a": np.zeros(3)}, tmp_path, target=1e-3)
        with pytest.raises(InputError, match="needs 'pace' too"):
            tune(swing["build"](), {"x": np.zeros((3, 2))}, tmp_path, target=1e-3)
        with pytest.raises(InputError, match="it holds no 'y', only x, pace, labels"):
            tune(swing["build"](), data(), tmp_path, target=1e-3, dynamic={"y": {0: "batch"}})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"target": 0.0}, "--target 0.0 must be a positive number"),
            ({"budget_ms": -1}, "--budget-ms -1"),
            ({"batch": 27}, "it has 26 samples, fewer than one call of 27"),
            ({"batch": 0}, "--batch 0 must be at least 1"),
            ({"samples": 2, "batch": 3}, "--samples 2 must be at least one call of 3"),
            ({"threads": 0}, "--threads 0"),
        ],
    )
    def test_settings_out_of_range_are_refused_by_name(self, swing, tmp_path, settings, message):
        with pytest.raises(InputError, match=message):
            tune(swing["build"](), data(), tmp_path, **{"target": 1e-3, **settings})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"methods": ["rk5"]}, "--method 'rk5' is not one of euler,"),
            ({"forms": ["flat"]}, "--form 'flat' is not one of unrolled,"),
            ({"steps": [0]}, "--steps 0 must be at least 1"),
            ({"tolerances": [2.0]}, "--tolerance 2.0 must lie between 0 and 1"),
        ],
    )
    def test_candidates_that_cannot_exist_are_refused_by_name(self, settings, message):
        with pytest.raises(FormError, match=message):
            candidates(Solves(("dopri5",), 1), Tried(**settings), target=1e-3)

    def test_a_target_below_the_error_of_the_reference_is_refused(self, swing, tmp_path):
        with pytest.raises(InputError, match="--target 1e-12 is too small to be measured: the reference itself"):
            tune(swing["build"](), data(4), tmp_path / "out", target=1e-12)
        assert not (tmp_path / "out").exists()


class TestOtherModels:
    settings = {"methods": ["rk4"], "forms": ["unrolled"], "steps": [2, 4], "target": 1e-2}

    def test_all_candidates_get_the_same_random_numbers(self, tmp_path):
        class Noisy(torch.nn.Module):
            def forward(self, x):
                start = x + 0.3 * torch.randn_like(x)
                return odeint(lambda t, y: -y * y, start, torch.tensor([0.0, 1.0]), method="dopri5")[-1]

        x = np.random.default_rng(0).uniform(1, 2, (6, 2)).astype(np.float32)
        tuning = tune(Noisy(), {"x": x}, tmp_path, **self.settings)
        assert tuning.choice.error < 1e-2  # the difference of two draws would be thirty times as large
        assert tuning.record.reference["together"] is False

    def test_a_float32_model_that_does_not_run_in_float64_is_its_own_reference(self, tmp_path):
        turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])

        def model(x):
            return odeint(lambda t, y: y @ turn, x, torch.tensor([0.0, 0.5, 1.0]))

        x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
        tuning = tune(model, {"x": x}, tmp_path, **self.settings)
        assert tuning.record.reference["dtype"] == "float32"
        assert [row.calls for row in tuning.complete] == [6] * len(tuning.complete)

    def test_the_reference_solves_dependent_samples_call_by_call(self, tmp_path):
        def model(x):
            mean = x.mean(0)
            return odeint(lambda t, y: mean - y, x, torch.tensor([0.0, 1.0], dtype=x.dtype))[-1]

        x = np.random.default_rng(0).normal(size=(8, 2))
        tuning = tune(model, {"x": x}, tmp_path, batch=2, **self.settings)
        assert tuning.record.reference["together"] is False
        assert tuning.choice.error < 1e-2

    def test_data_without_a_batch_axis_are_one_call(self, tmp_path):
        def model(x):
            return {"sum": odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0], dtype=x.dtype))[-1].sum()}

        tuning = tune(model, {"x": np.arange(1.0, 4.0)}, tmp_path, dynamic={}, **self.settings)
        assert (tuning.calls, tuning.choice.samples) == (1, 1)
        for row in tuning.complete:
            z = -1 / row.candidate.steps
            step = (
                1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
            )  # the stability function of any Runge-Kutta method of order 4 with 4 stages
            assert row.error == pytest.approx(step**row.candidate.steps / np.exp(-1) - 1, rel=1e-3)

    def test_a_model_whose_solves_are_all_marked_has_nothing_to_tune(self, tmp_path):
        def model(x):
            return mark(lambda z: torch.cos(z + x), x, rtol=1e-6, atol=1e-6)

        with pytest.raises(FormError, match="there is nothing to tune"):
            tune(model, {"x": np.zeros((4, 2))}, tmp_path / "out", target=1e-3)
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("captured")
class TestCommand:
    @pytest.fixture
    def run(self, capsys, monkeypatch, source, tmp_path):
        """A function that runs `odelet COMMAND ARGS` in a folder with data.npz, with the commands export and tune."""
        from importlib.metadata import EntryPoint

        from odelet import cli

        points = {
            "export": "odelet_export.commands.export_cli:export_command",
            "tune": "odelet_export.commands.tune_cli:tune_command",
        }
        entry_points = [EntryPoint(name, place, cli.GROUP) for name, place in points.items()]
        monkeypatch.setattr(cli, "entry_points", lambda group: entry_points)
        monkeypatch.chdir(tmp_path)
        np.savez("data.npz", **data())

        def run(*args):
            monkeypatch.setattr(cli.app, "registered_commands", list(cli.app.registered_commands))
            return call(capsys, *args)

        return run

    def arguments(self, source, *more):
        quick = [
            *("--method", "rk4", "--method", "dopri5", "--form", "unrolled", "--form", "adaptive"),
            *("--steps", "4", "--steps", "16", "--tolerance", "1e-5"),
        ]
        return ["tune", f"{source}:build", "--data", "data.npz", "--target", "1e-4", *quick, *more]

    def test_the_printed_command_exports_the_choice(self, run, source, swing):
        code, out, err = run(*self.arguments(source, "--metric", f"{source}:upward"))
        assert code == 0, err
        (line,) = [line.strip() for line in out.splitlines() if line.startswith("  odelet export ")]
        record = read_record(Path("tune"))
        assert line == record.command
        code, _, err = run(*shlex.split(line)[1:])
        assert code == 0, err
        sample_errors, evaluations = errors(odelet.load("tune/artifact"), data())
        chosen = max((row for row in record.rows if row.candidate == record.chosen), key=lambda row: row.calls)
        assert chosen.calls == 26
        assert chosen.error == pytest.approx(sample_errors.max(), rel=1e-4, abs=2e-8)
        assert chosen.evaluations == pytest.approx(evaluations)
        stages = [line for line in err.splitlines() if line.startswith("round")]
        assert stages == [] or stages[-1].endswith("26 calls of 1")

    def test_option_export_writes_the_choice_and_stdout_is_json_alone(self, run, source):
        np.savez("data.npz", **{**data(24), "x": data(24)["x"].astype(np.float32)})
        inputs = ("--input", "x=float64[batch,_]", "--input", "pace=[batch]")
        code, out, err = run(*self.arguments(source, *inputs, "--export", "--json", "-o", "there"))
        assert code == 0, err
        result = json.loads(out)
        assert result["choice"] == result["chosen"]
        card = odelet.load("there/artifact").card
        assert card.solves[0].method == result["choice"]["method"]
        assert str(card.inputs[0]) == "float64 [batch, 2]"
        assert "round 1 of 2, 6 calls of 1" in err

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (("--metric", "SOURCE:nothing"), "has no function 'nothing'"),
            (("--metric", "nowhere.py:f"), "--metric nowhere.py: there is no such file"),
            (
                ("--metric", "SOURCE:broken"),
                "--metric SOURCE:broken: KeyError: 'surely'; it is called as metric(outputs",
            ),
            (("--metric", "SOURCE:wordy"), "--metric SOURCE:wordy: it returned a str; expected a number"),
            (("--input", "z=[batch]"), "data.npz holds no 'z', only x, pace, labels"),
            (("--out", "data.npz"), "--out data.npz: it is a file"),
            (("--data", "absent.npz"), "absent.npz: it cannot be read"),
        ],
    )
    def test_bad_arguments_are_refused_in_one_line(self, run, source, more, message):
        more = [text.replace("SOURCE", str(source)) for text in more]
        code, out, err = run(*self.arguments(source, *more))
        assert (code, out) == (2, "")
        assert message.replace("SOURCE", str(source)) in one_line(err.splitlines(keepends=True)[-1])
        assert not Path("tune").exists()

    def test_an_unreachable_target_exits_with_3_after_the_table(self, run, source):
        arguments = ["--method", "euler", "--steps", "2", "--form", "unrolled", "--target", "1e-3"]
        code, out, err = run("tune", f"{source}:build", "--data", "data.npz", *arguments)
        assert code == 3
        assert "euler" in out
        assert "the nearest is euler, 2 steps, unrolled" in err


class TestRule:
    """The rules of successive halving, on invented rows."""

    rows = st.lists(st.tuples(st.floats(1e-9, 1) | st.just(inf), st.floats(0.01, 100)), min_size=1, max_size=40).map(
        lambda pairs: [row_of(i, *one) for i, one in enumerate(pairs)]
    )

    @given(st.integers(1, 100_000))
    def test_each_round_has_more_calls_and_the_last_has_all(self, calls):
        plan = halving.rounds(calls)
        assert plan[-1] == calls
        assert all(a < b <= halving.GROWTH * a for a, b in zip(plan[:-1], plan[1:], strict=True))
        assert plan[0] >= min(calls, halving.LEAST)

    @given(rows)
    def test_no_row_of_the_front_is_dominated_and_every_other_row_is(self, rows):
        alive = [row for row in rows if row.worst < inf]
        front = halving.front(alive)
        for row in alive:
            others = [x for x in alive if x is not row and x.worst <= row.worst and x.time <= row.time]
            better = [x for x in others if x.worst < row.worst or x.time < row.time]
            assert not better if row in front else others
        assert [row.time for row in front] == sorted(row.time for row in front)

    @given(rows, st.floats(1e-9, 1))
    def test_the_best_row_survives_and_failures_do_not(self, rows, target):
        survived = halving.survivors(rows, target)
        alive = [row for row in rows if row.worst < inf]
        best = halving.choice(alive, target) or halving.nearest(alive, target)
        assert (best in survived) if alive else survived == []
        assert all(row.worst < inf for row in survived)
        assert len(survived) >= len(alive) / 2

    @given(rows, st.floats(1e-9, 1), st.floats(0.01, 100))
    def test_the_choice_is_the_cheapest_within_target_and_budget(self, rows, target, budget):
        chosen = halving.choice(rows, target, budget)
        good = [row.time for row in rows if row.worst <= target and row.time <= budget]
        assert (chosen.time if chosen else None) == min(good, default=None)


def row_of(number, error, milliseconds):
    candidate = Candidate(form="rolled", method="euler", steps=number + 1)
    return Row(
        candidate=candidate, calls=1, samples=1, error=None if error == inf else error, milliseconds=milliseconds
    )


class TestRoster:
    def test_every_method_is_tried_in_every_form_that_it_can_have(self):
        tried = candidates(Solves(("dopri5",), 1), Tried(), target=1e-3)
        pairs = {(one.method, one.form) for one in tried}
        assert {("rk4", "unrolled"), ("rk4", "rolled"), ("dopri8", "adaptive"), ("dopri8", "driven")} <= pairs
        assert not {("rk4", "adaptive"), ("rk4", "driven"), ("dopri5", "unrolled")} & pairs
        assert {one.method for one in tried} == {None, *TRIED}
        assert len(set(tried)) == len(tried)

    def test_driven_is_tried_with_fixed_steps_if_the_user_names_it(self):
        tried = candidates(Solves(("rk4",), 1), Tried(methods=["rk4"], forms=["driven"]), target=1e-3)
        assert Candidate(form="driven", method="rk4", steps=4) in tried

    def test_steps_end_at_the_output_times(self):
        tried = candidates(Solves(("dopri5",), 10), Tried(methods=["rk4"]), target=1e-3)
        steps = {one.steps for one in tried if one.method == "rk4"}
        assert None in steps
        assert all(count % 10 == 0 for count in steps - {None})

    def test_the_steps_of_a_solve_to_an_event_are_not_changed(self):
        tried = candidates(Solves(("dopri5",), 1, until_event=True), Tried(), target=1e-3)
        assert all(one.steps is None for one in tried)
        assert {one.method for one in tried} >= {None, "dopri5"}

    def test_a_new_form_in_the_roster_is_tried(self, monkeypatch):
        monkeypatch.setitem(FORMS, "bounded", replace(FORMS["adaptive"], name="bounded"))
        tried = candidates(Solves(("dopri5",), 1), Tried(), target=1e-3)
        assert {one.method for one in tried if one.form == "bounded"} == {
            None,
            *(method for method in TRIED if method in ("bosh3", "tsit5", "dopri5", "dopri8")),
        }
