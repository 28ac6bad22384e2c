"""`threads="measured"`: the number of threads that is fastest for the sizes of a call, kept for later loads."""

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from support.artifacts import affine_card, write_affine, write_guarded, write_noisy
from support.command_line import call, one_line
from support.endless import write_driven
from support.paths import ROOT

import odelet
from odelet import cli
from odelet.artifact.card import Tensor
from odelet.engine import user_cache
from odelet.errors import AssumptionError, InputError
from odelet.model import measured_threads
from odelet.model.measured_threads import Choice, Sizes, counts

ARTIFACTS = ROOT / "tests" / "whole" / "artifacts-0.1"
FORMS = ["adaptive", "bounded", "driven", "fixed-point", "rolled"]


def rows(count):
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setattr(user_cache, "cache_root", lambda: tmp_path / "cache" / "odelet")
    return tmp_path / "cache" / "odelet" / "threads"


@pytest.fixture(autouse=True)
def has_cores(monkeypatch):
    """A function that sets how many cores there are: 4 to begin with."""

    def set_to(number):
        monkeypatch.setattr(measured_threads, "cores", lambda: number)

    set_to(4)
    return set_to


@pytest.fixture
def timed(monkeypatch):
    """Calls run, and take the seconds that are set here by number of threads; `calls` lists those that were timed."""

    class Timed(dict):
        calls = []

    seconds = Timed({1: 4.0, 2: 2.0, 4: 1.0, 8: 1.0})
    really = measured_threads._timed

    def take(runner, values, settings):
        really(runner, values, settings)
        seconds.calls.append(runner.artifact.threads)
        return seconds[runner.artifact.threads]

    seconds.calls = []
    monkeypatch.setattr(measured_threads, "_timed", take)
    return seconds


def measured(folder, **options):
    return odelet.load(folder, threads="measured", **options)


@pytest.mark.parametrize(
    ("number", "expected"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (6, (1, 2, 4, 6))]
)
def test_the_numbers_that_are_tried(number, expected, has_cores):
    has_cores(number)
    assert counts() == expected
    has_cores(10**6)
    assert counts()[-1] == 1024


class TestChoice:
    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            ({1: 4.0, 2: 2.0, 4: 1.0}, 4),
            ({1: 1.0, 2: 2.0, 4: 4.0}, 1),
            ({1: 2.0, 2: 1.0, 4: 1.5}, 2),
            # The smallest number that is within a few hundredths of the fastest:
            ({1: 1.04, 2: 1.02, 4: 1.0}, 1),
            ({1: 2.0, 2: 1.04, 4: 1.0}, 2),
        ],
    )
    def test_the_fastest_number_is_taken_and_of_equal_ones_the_smallest(self, seconds, expected, timed, tmp_path):
        timed.update(seconds)
        model = measured(write_affine(tmp_path))
        assert (model.threads, model.thread_choice) == (1, None)
        assert np.array_equal(model(rows(5)), 2 * rows(5) + 1)
        assert model.threads == model.thread_choice.threads == expected
        assert model.thread_choice.sizes == {"batch": 8}
        assert model.thread_choice.milliseconds == {count: 1e3 * time for count, time in seconds.items()}
        assert {timed.calls.count(count) for count in seconds} == {6}

    def test_each_class_of_sizes_has_a_choice_of_its_own(self, timed, tmp_path):
        model = measured(write_affine(tmp_path))
        model(rows(33))
        assert model.threads == 4
        timed.update({1: 0.5})
        model(rows(64))
        assert model.threads == 4
        model(rows(65))
        assert model.threads == 1
        model(rows(40))
        assert (model.threads, len(timed.calls)) == (4, 2 * 18)

    def test_a_later_load_takes_the_choice_at_once(self, timed, tmp_path):
        folder = write_affine(tmp_path)
        first = measured(folder)
        first(rows(5))
        timed.calls.clear()
        model = measured(folder)
        assert np.array_equal(model(rows(7)), 2 * rows(7) + 1)
        assert (timed.calls, model.threads, model.thread_choice) == ([], 4, first.thread_choice)

    def test_a_choice_is_of_one_artifact_machine_and_engine(self, timed, tmp_path, monkeypatch, has_cores):
        folder = write_affine(tmp_path / "one")
        measured(folder)(rows(5))
        for change in (
            lambda: write_affine(tmp_path / "two", affine_card(name="Other")),
            lambda: monkeypatch.setattr(measured_threads, "processor", lambda: "another"),
            lambda: monkeypatch.setattr(measured_threads.ort, "__version__", "1.99.0"),
            lambda: has_cores(8),
        ):
            timed.calls.clear()
            again = change() or folder
            measured(again, try_engine=False)(rows(5))
            assert timed.calls
            timed.calls.clear()
            measured(again, try_engine=False)(rows(5))
            assert not timed.calls

    @pytest.mark.parametrize(
        "value",
        [
            None,
            3,
            {},
            {"threads": 2},
            {"threads": 3, "milliseconds": {"1": 1.0, "2": 1.0, "4": 1.0}},
            {"threads": True, "milliseconds": {"1": 1.0, "2": 1.0, "4": 1.0}},
            {"threads": 1, "milliseconds": {"1": 1.0}},
            {"threads": 1, "milliseconds": {"1": "x", "2": 1.0, "4": 1.0}},
            {"threads": 1, "milliseconds": [1, 2, 4]},
        ],
    )
    def test_a_choice_that_means_nothing_is_made_again(self, value, timed, tmp_path, cache):
        folder = write_affine(tmp_path)
        measured(folder)(rows(5))
        (file,) = cache.iterdir()
        told = json.loads(file.read_text())
        file.write_text(json.dumps(told | {"value": value}))
        timed.calls.clear()
        model = measured(folder)
        model(rows(5))
        assert model.threads == 4 and len(timed.calls) == 18
        assert json.loads(file.read_text()) == told

    def test_a_cache_that_cannot_be_written_is_no_error(self, timed, tmp_path, cache):
        cache.parent.parent.mkdir()
        cache.parent.write_text("no folder")
        model = measured(write_affine(tmp_path / "out"))
        assert model(rows(5)).shape == (5, 3)
        assert (model.threads, len(timed.calls)) == (4, 18)

    def test_one_core_needs_no_timing(self, timed, tmp_path, has_cores):
        has_cores(1)
        model = measured(write_affine(tmp_path))
        model(rows(5))
        assert (timed.calls, model.threads) == ([], 1)
        assert str(model.thread_choice) == "this process has one core"

    def test_a_slow_model_is_called_once_for_each_number(self, timed, tmp_path, monkeypatch):
        monkeypatch.setattr(measured_threads, "_SECONDS", 0.0)
        model = measured(write_affine(tmp_path))
        model(rows(5))
        assert (timed.calls, model.threads) == ([1, 2, 4], 4)

    def test_calls_are_timed_for_real_without_a_clock_of_the_test(self, tmp_path):
        model = measured(write_affine(tmp_path))
        assert np.array_equal(model(rows(5)), 2 * rows(5) + 1)
        assert [*model.thread_choice.milliseconds] == [1, 2, 4]
        assert all(ms > 0 for ms in model.thread_choice.milliseconds.values())


def test_output_times_and_noise_are_no_sizes_and_whole_numbers_are():
    card = affine_card(
        inputs=(
            Tensor(name="x", dtype="float32", shape=("batch", 3)),
            Tensor(name="w", dtype="float32", shape=("batch", "tokens")),
            Tensor(name="n", dtype="int64", shape=(), size="steps"),
            Tensor(name="t", dtype="float32", shape=("times",)),
        )
    )
    values = {"x": np.zeros((33, 3)), "w": np.zeros((33, 0)), "n": np.array(5), "t": np.zeros(7)}
    assert Sizes(card, ("t",)).of(values) == {"batch": 64, "tokens": 1, "steps": 8}
    values["n"] = np.array(-3)
    assert Sizes(card, ()).of(values) == {"batch": 64, "tokens": 1, "steps": 1, "times": 8}


class TestCalls:
    @pytest.mark.parametrize("form", FORMS)
    def test_answers_are_those_of_the_number_that_was_chosen(self, form, timed):
        with np.load(ARTIFACTS / form / "samples.npz") as file:
            inputs = {name[5:]: file[name] for name in file.files if name.startswith("0/in/")}
        for best in (1, 2):
            timed.update({1: 1.0, 2: 2.0 if best == 1 else 0.1})
            user_cache.cache_root().exists() and [x.unlink() for x in user_cache.cache_root().rglob("*.json")]
            model, fixed = measured(ARTIFACTS / form), odelet.load(ARTIFACTS / form, threads=best)
            timed.update({4: 9.0})
            found, expected = model.solve(**inputs), fixed.solve(**inputs)
            assert model.threads == best
            assert found.stats == expected.stats
            for name, x in expected.outputs.items():
                assert np.array_equal(found.outputs[name], x, equal_nan=True)
            assert odelet.verify(model).passed

    def test_random_numbers_are_drawn_once(self, timed, tmp_path):
        folder = write_noisy(tmp_path)
        model, fixed = measured(folder), odelet.load(folder, threads=4)
        x = {model.inputs[0].name: np.ones((5, *(n for n in model.inputs[0].shape[1:])), np.float32)}
        for name, y in fixed.solve(**x, seed=3).outputs.items():
            assert np.array_equal(model.solve(**x, seed=3).outputs[name], y)
        assert model.threads == 4

    def test_a_call_that_cannot_wait_is_not_timed(self, timed, tmp_path):
        model = measured(write_driven(tmp_path))
        x = {
            tensor.name: np.ones([2 if isinstance(n, str) else n for n in tensor.shape], tensor.dtype)
            for tensor in model.inputs
        }
        x |= {"t": np.array([0.0, 0.1], x["t"].dtype)} if "t" in x else {}
        for settings in ({"deadline": 60.0}, {"progress": lambda now: None}):
            model.solve(**x, **settings, max_steps=5)
            assert (timed.calls, model.threads, model.thread_choice) == ([], 1, None)
        model.solve(**x, max_steps=5)
        assert (len(timed.calls), model.threads) == (18, 4)
        model.solve(**x, deadline=60.0, max_steps=5)
        assert model.threads == 4

    def test_a_first_call_that_is_refused_leaves_nothing(self, timed, tmp_path, cache):
        model = measured(write_affine(tmp_path / "affine"))
        with pytest.raises(InputError, match="shape"):
            model(rows(5).T)
        guarded = measured(write_guarded(tmp_path / "guarded"))
        with pytest.raises(AssumptionError):
            guarded(-np.ones((2, 3), np.float32))
        assert not timed.calls and not cache.exists()
        guarded(np.ones((2, 3), np.float32))
        assert guarded.threads == 4

    def test_the_first_call_of_many_threads_is_timed_once(self, timed, tmp_path):
        model = measured(write_affine(tmp_path))
        with ThreadPoolExecutor(8) as pool:
            found = [*pool.map(lambda _: model(rows(5)), range(32))]
        assert all(np.array_equal(y, 2 * rows(5) + 1) for y in found)
        assert len(timed.calls) == 18

    def test_a_pickled_model_takes_the_choice_with_it_in_the_cache(self, timed, tmp_path):
        model = measured(write_affine(tmp_path))
        model(rows(5))
        timed.calls.clear()
        back = pickle.loads(pickle.dumps(model))
        assert np.array_equal(back(rows(5)), model(rows(5)))
        assert (back.threads, timed.calls) == (4, [])

    def test_an_engine_is_tried_before_anything_is_timed(self, timed, monkeypatch):
        from odelet.model import engine_check, model

        for module in (engine_check, model):
            monkeypatch.setattr(module, "tested", lambda: False)
        monkeypatch.setattr(engine_check, "_tried", set())
        assert measured(ARTIFACTS / "rolled").thread_choice is None
        assert not timed.calls and engine_check._tried


FORKED = """
import os, signal, sys, warnings
import numpy as np
import odelet
from odelet.model import measured_threads

measured_threads.cores = lambda: 2
measured_threads._timed = lambda runner, values, settings: 1.0 / runner.artifact.threads
x = np.arange(6, dtype=np.float32).reshape(2, 3)
model = odelet.load(sys.argv[1], threads="measured")
model(x)
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    signal.alarm(20)
    for batch in (x, np.tile(x, (5, 1))):  # of the sizes that were timed before the fork, and of others
        print(model.threads, np.array_equal(model(batch), 2 * batch + 1), model.threads, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", np.array_equal(model(x), 2 * x + 1), model.threads)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_model_works_in_a_child_process_that_was_forked_after_its_calls(tmp_path):
    command = [sys.executable, "-c", FORKED, str(write_affine(tmp_path))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.stdout.splitlines() == ["2 True 2", "2 True 2", "parent True 2"], ended.stderr


class TestRefusals:
    @pytest.mark.parametrize("threads", ["many", "", "Measured", "2", 2.0, True, 0, 1025])
    def test_another_value(self, threads, tmp_path):
        with pytest.raises(InputError, match=r"threads=.* must be a whole number from 1 to 1024, or 'measured'"):
            odelet.load(write_affine(tmp_path), threads=threads)

    def test_other_engines_devices_and_a_cap(self, tmp_path, monkeypatch):
        folder = write_affine(tmp_path)
        with pytest.raises(InputError, match="runs on one thread of the CPU; leave device, threads and memory out"):
            measured(folder, engine="native")
        with pytest.raises(InputError, match="opens the graphs several times, and memory=4194304 caps"):
            measured(folder, memory=2**22)
        monkeypatch.setattr("odelet.engine.opening.check_device", lambda device, threads: None)
        with pytest.raises(InputError, match="'measured' is for the CPU; name a number, or leave it out for device='c"):
            measured(folder, device="cuda")


class TestCommands:
    @pytest.fixture
    def command(self, capsys, monkeypatch):
        monkeypatch.setattr(cli, "entry_points", lambda group: [])
        return partial(call, capsys)

    def test_every_command_with_threads_takes_the_word(self, command, timed, tmp_path, cache):
        folder, source = write_affine(tmp_path / "out"), tmp_path / "x.npz"
        np.savez(source, x=rows(5))
        run = ("run", folder, "--input", source, "--output", tmp_path / "y.npz")
        for words in (run, ("verify", folder), ("bench", folder, "--seconds", "0.02")):
            assert command(*words, "--threads", "measured")[0] == 0
            code, _, err = command(*words, "--threads", "many")
            assert code == 2 and "threads='many' must be a whole number from 1 to 1024, or 'measured'" in one_line(err)
            assert command(*words, "--threads", "2")[0] == 0
        assert len(timed.calls) == 18 * len([*cache.iterdir()]) == 18 * 3  # the batch of the file, and of two samples
        plot = ("plot", ARTIFACTS / "driven", "--input", ARTIFACTS / "driven" / "x.npz", "-o", tmp_path / "y.svg")
        assert "threads='many' must be" in one_line(command(*plot, "--threads", "many")[2])

    def test_the_bench_says_which_number_was_chosen(self, command, timed, tmp_path):
        words = ("bench", write_affine(tmp_path), "--seconds", "0.02", "--threads", "measured", "--batch", "5")
        code, out, _ = command(*words)
        assert code == 0 and "on cpu, 4 threads" in out
        line = "measured: 4e+03 ms with 1, 2e+03 ms with 2, 1e+03 ms with 4 (batch up to 8)"
        assert f"threads     {line}" in out
        told = json.loads(command(*words, "--json")[1])
        assert told["threads"] == 4
        assert told["threads_measured"] == {
            "threads": 4,
            "sizes": {"batch": 8},
            "milliseconds": {"1": 4e3, "2": 2e3, "4": 1e3},
        }
        plain = json.loads(command(*words[:4], "--json")[1])
        assert plain["threads_measured"] is None


def test_a_choice_is_told_for_models_of_fixed_sizes():
    assert str(Choice(1, {}, {1: 2.0})) == "2 ms with 1 (fixed sizes)"
