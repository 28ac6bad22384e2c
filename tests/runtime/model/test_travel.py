"""Models that go to other processes, threads and forks."""

import copy
import inspect
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from support.artifacts import affine_card, affine_model, write_affine, write_pair
from support.paths import ROOT

import odelet
from odelet.artifact.origin import TRAVELS_WHOLE
from odelet.artifact.seal import sealed
from odelet.errors import ArtifactError, InputError, OdeletError, SolveError
from odelet.loops.ivp import odeint
from odelet.model.model import Model
from odelet.numerics.events import Event
from odelet.status import Status

ARTIFACTS = ROOT / "tests" / "whole" / "artifacts-0.1"
FORMS = ["adaptive", "bounded", "driven", "fixed-point", "rolled"]
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def sample(form):
    with np.load(ARTIFACTS / form / "samples.npz") as file:
        return {name.removeprefix("0/in/"): file[name] for name in file.files if name.startswith("0/in/")}


def answers(model, inputs):
    outputs = model(**inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def equal(first, second):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def lone_file(text):
    """The bytes of a lone graph that holds some text besides."""
    model = affine_model()
    model.doc_string = text
    return sealed(model.SerializeToString(), name="lone.onnx")


def again(thing):
    return pickle.loads(pickle.dumps(thing))


class TestPickles:
    @pytest.mark.parametrize("form", FORMS)
    def test_a_model_of_each_form_comes_back(self, form):
        model, inputs = odelet.load(ARTIFACTS / form, threads=2), sample(form)
        back = again(model)
        assert (back.card, back.threads, back.folder.name) == (model.card, 2, form)
        assert equal(answers(back, inputs), answers(model, inputs))
        assert len(pickle.dumps(model)) < 600

    def test_all_settings_of_load_travel(self, tmp_path):
        model = odelet.load(write_affine(tmp_path))
        _, (_, _, settings) = model.__reduce__()
        assert [*settings] == [*inspect.signature(odelet.load).parameters][1:]
        assert [*settings] == [*inspect.signature(Model).parameters][1:]

    def test_a_relative_path_and_a_link_lead_to_the_same_artifact(self, tmp_path, monkeypatch):
        write_affine(tmp_path / "first")
        write_pair(tmp_path / "second")
        (tmp_path / "current").symlink_to("first")
        monkeypatch.chdir(tmp_path)
        data = pickle.dumps(odelet.load("current"))
        (tmp_path / "current").unlink()
        (tmp_path / "current").symlink_to("second")
        monkeypatch.chdir("/")
        assert pickle.loads(data).card.name == "Affine"

    def test_an_artifact_that_is_missing(self, tmp_path):
        data = pickle.dumps(odelet.load(write_affine(tmp_path / "out")))
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(
            ArtifactError, match=r"there is no such folder or file.*is loaded again from there, so keep"
        ):
            pickle.loads(data)

    def test_another_artifact(self, tmp_path):
        data = pickle.dumps(odelet.load(write_affine(tmp_path)))
        card = affine_card(versions={"torch": "2.13.1"})
        write_affine(tmp_path, card)
        with pytest.raises(ArtifactError, match=r"another artifact is there now \(sha256 .*load it with odelet.load"):
            pickle.loads(data)

    def test_a_damaged_artifact(self, tmp_path):
        data = pickle.dumps(odelet.load(write_affine(tmp_path)))
        (tmp_path / "model.onnx").write_bytes(b"")
        with pytest.raises(ArtifactError, match=r"it was cut short.*is loaded again from there"):
            pickle.loads(data)

    def test_a_small_lone_file_travels_whole(self, tmp_path):
        path = tmp_path / "lone.onnx"
        path.write_bytes(lone_file(""))
        model = odelet.load(path, threads=2)
        data = pickle.dumps(model)
        path.unlink()
        back = again(pickle.loads(data))
        assert (back.threads, back.folder) == (2, None)
        assert np.array_equal(back(X), model(X))
        assert len(data) < len(lone_file("")) + 600

    def test_a_lone_file_of_0_1_travels(self):
        model = odelet.load(ARTIFACTS / "adaptive" / "model.onnx")
        assert equal(answers(again(model), sample("adaptive")), answers(model, sample("adaptive")))

    def test_a_large_lone_file_is_loaded_again(self, tmp_path):
        path = tmp_path / "lone.onnx"
        path.write_bytes(lone_file("large" * (TRAVELS_WHOLE // 5)))
        data = pickle.dumps(odelet.load(path))
        assert len(data) < 600
        assert pickle.loads(data)(X).shape == X.shape
        path.write_bytes(lone_file("other" * (TRAVELS_WHOLE // 5)))
        with pytest.raises(ArtifactError, match="another artifact is there now"):
            pickle.loads(data)

    def test_copies_are_the_model_itself(self, tmp_path):
        model = odelet.load(write_affine(tmp_path))
        shutil.rmtree(tmp_path)
        assert copy.copy(model) is model
        assert copy.deepcopy({"model": model})["model"] is model

    def test_a_subclass_stays_one(self, tmp_path):
        assert type(again(Named(write_affine(tmp_path)))) is Named


class Named(Model):
    """A model of a user's own class."""


class TestStreams:
    def test_a_series_travels_with_its_state(self, tmp_path):
        model = odelet.load(write_affine(tmp_path))
        stream = model.stream(carry={"x": "y"}, x=X)
        stream()
        for other in (again(stream), copy.deepcopy(stream)):
            assert other.steps == 1
            assert np.array_equal(other(), 2 * (2 * X + 1) + 1)
        assert np.array_equal(stream(), 2 * (2 * X + 1) + 1)

    @pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_a_long_solve_does_not(self, travel):
        model = odelet.load(ARTIFACTS / "driven")
        stream = object.__new__(odelet.model.solve_stream.SolveStream)
        assert model.card.driven
        with pytest.raises(InputError, match=r"neither pickled nor copied.*begin another stream with model.stream"):
            travel(stream)


class TestResults:
    def test_solutions_travel(self):
        model, inputs = odelet.load(ARTIFACTS / "driven"), sample("driven")
        solution = model.solve(**inputs)
        assert equal(again(solution).outputs.values(), solution.outputs.values())
        solution = odeint(lambda t, y: -y, np.ones(2), [0.0, 1.0], dense=True, events=[Event(crossing)])
        back = again(solution)
        assert np.array_equal(back.at(0.3), solution.at(0.3))
        assert str(back.events) == str(solution.events)
        assert back.stats == solution.stats

    def test_every_error_travels(self):
        import odelet_export.commands.floor
        import odelet_export.errors
        import odelet_export.tuning.result

        made, waiting = {}, [OdeletError]
        while waiting:
            kind = waiting.pop()
            waiting += kind.__subclasses__()
            names = [*inspect.signature(kind.__init__).parameters][1:]
            values = [f"{name} of it" for name in names] if "args" not in names else ["message"]
            made[kind] = error = kind(*values)
            back = again(error)
            assert type(back) is kind
            assert (str(back), vars(back)) == (str(error), vars(error))
        assert len(made) >= 11
        assert str(made[odelet_export.errors.ParityError]) == "message of it"


def crossing(t, y):
    return y[0] - 0.5


class TestProcesses:
    def test_a_pool_of_spawned_processes(self, tmp_path):
        model = odelet.load(write_affine(tmp_path))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert equal(pool.map(model, [X, X + 1]), [2 * X + 1, 2 * X + 3])
            solution = pool.apply(model.solve, (X,))
            assert solution.status is Status.OK
            with pytest.raises(SolveError, match="step limit"):
                pool.apply(model, (X,), {"max_steps": 3})

    def test_joblib(self, tmp_path):
        model = odelet.load(write_affine(tmp_path / "out"))
        joblib.dump({"model": model, "x": X}, tmp_path / "file.joblib")
        stored = joblib.load(tmp_path / "file.joblib")
        assert np.array_equal(stored["model"](X), 2 * X + 1)
        assert joblib.hash(model) == joblib.hash(stored["model"])
        answers = joblib.Parallel(n_jobs=2)(joblib.delayed(model)(X + i) for i in range(4))
        assert all(np.array_equal(answer, 2 * (X + i) + 1) for i, answer in enumerate(answers))
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


class TestThreads:
    @pytest.mark.parametrize("form", FORMS)
    def test_eight_threads_share_a_model(self, form):
        model, inputs = odelet.load(ARTIFACTS / form), sample(form)
        expected = answers(model, inputs)
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda _: answers(model, inputs), range(48))
            assert all(equal(one, expected) for one in found)


FORKED = """
import os, signal, sys, threading, time, warnings
import numpy as np
import odelet
from odelet.engine import forking

folder, threads, busy = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "busy"
x = np.arange(6, dtype=np.float32).reshape(2, 3)
model = odelet.load(folder, threads=threads)
model(x)
if busy:
    inside, done = threading.Event(), threading.Event()

    def call():
        with model._runner.artifact.guard:  # as a call that takes long
            inside.set()
            done.wait()

    thread = threading.Thread(target=call)
    thread.start()
    inside.wait()
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        print("answers", np.array_equal(model(x), 2 * x + 1), flush=True)
    except odelet.ArtifactError as error:
        print(error, flush=True)
        again = odelet.load(folder, threads=threads)
        print("again", np.array_equal(again(x), 2 * x + 1), flush=True)
    grandchild = os.fork() if threads == 1 else None
    if grandchild == 0:
        again = again if busy else model
        print("grandchild", np.array_equal(again(x), 2 * x + 1), flush=True)
    elif grandchild:
        os.waitpid(grandchild, 0)
    os._exit(0)
os.waitpid(child, 0)
if busy:
    done.set()
    thread.join()
print("parent", np.array_equal(model(x), 2 * x + 1), len(forking.RUNNING))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestForks:
    @pytest.mark.parametrize(
        ("threads", "state", "expected"),
        [
            (1, "idle", ["answers True", "grandchild True", "parent True 0"]),
            (2, "idle", [r"threads=2, and the threads stayed", "again True", "parent True 0"]),
            (1, "busy", ["a call of a model was running", "again True", "grandchild True", "parent True 0"]),
        ],
    )
    def test_a_forked_process(self, tmp_path, threads, state, expected):
        folder = write_affine(tmp_path)
        command = [sys.executable, "-c", FORKED, str(folder), str(threads), state]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        lines = ended.stdout.splitlines()
        assert len(lines) == len(expected), ended.stdout + ended.stderr
        assert all(part in line for part, line in zip(expected, lines, strict=True)), ended.stdout
