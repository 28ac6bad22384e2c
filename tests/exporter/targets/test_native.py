"""The target native: a library in the place of ONNX Runtime has the same answers, and is loaded only on request."""

import json
import pickle
import re
import shutil
import threading
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torchdiffeq
from support.command_line import call
from torch import nn

import odelet
from odelet import cli
from odelet.artifact.native_card import NATIVE_FILE
from odelet.commands import bench_native
from odelet.engine import native as native_engine
from odelet.errors import ArtifactError, AssumptionError, InputError
from odelet.status import Status
from odelet_export import build, export

pytestmark = [
    pytest.mark.skipif(find_spec("emx_onnx_cgen") is None, reason="emx-onnx-cgen is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed"),
]


class Net(nn.Module):
    """A solve with tolerances, whose field reads time, and a decision by the input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3))
        self.register_buffer("times", torch.tensor([0.0, 0.3, 1.0, 2.0]))

    def forward(self, x):
        if (x > 50).any():
            return x.expand(4, 2, 3)
        return torchdiffeq.odeint(lambda t, y: self.layers(y) * torch.cos(t), x, self.times, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    export(Net(), (torch.rand(2, 3),), folder / "artifact", profile="c", samples=1)
    assert build(folder / "artifact", "native", folder / "library").tested.passed
    return folder


@pytest.fixture
def native(place):
    return odelet.load(place / "artifact", engine="native", library=place / "library")


@pytest.fixture
def graphs(place):
    return odelet.load(place / "artifact")


def numbers(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)


def test_a_library_gives_the_answers_and_the_statistics_of_the_graphs(native, graphs):
    for seed in range(5):
        ours, theirs = native.solve(numbers(seed)), graphs.solve(numbers(seed))
        for name, output in theirs.outputs.items():
            assert (ours.outputs[name].shape, ours.outputs[name].dtype) == (output.shape, output.dtype)
            # Rounding moves the ends of steps, and dense output has the error of the tolerance.
            np.testing.assert_allclose(ours.outputs[name], output, rtol=0, atol=20 * 1e-5)
        assert ours.status is theirs.status is Status.OK
        (mine,), (other,) = ours.stats.solves, theirs.stats.solves
        assert abs(mine.steps - other.steps) <= 1
        assert mine.time == pytest.approx(other.time, rel=0.2)


def test_settings_reach_the_library(native):
    counts = [native.solve(numbers(), rtol=rtol, atol=rtol).stats.solves[0].steps for rtol in (1e-2, 1e-4, 1e-6)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    assert native.solve(numbers(), max_steps=2).status is Status.STEP_LIMIT
    assert native.solve(numbers(), max_steps=2).stats.solves[0].steps == 2
    assert native.solve(numbers()).stats.solves[0].steps == native.solve(numbers(), rtol=1e-5).stats.solves[0].steps


def test_a_library_cannot_be_ended_from_outside(native):
    for setting in ({"deadline": 1.0}, {"max_evals": 100}):
        with pytest.raises(InputError, match=f"{next(iter(setting))}=.* the library of this model does not take it"):
            native.solve(numbers(), **setting)


def test_assumptions_and_shapes_are_checked(native):
    with pytest.raises(AssumptionError, match="x > 50"):
        native(np.full((2, 3), 60, np.float32))
    with pytest.raises(InputError, match="x"):
        native(np.zeros((5, 3), np.float32))


def test_calls_run_side_by_side(native):
    wanted = [native(numbers(seed)) for seed in range(8)]
    found = [None] * 8

    def call(seed):
        for _ in range(20):
            found[seed] = native(numbers(seed))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_inputs_of_any_layout_and_outputs_that_outlive_the_next_call(native):
    x = numbers()
    wanted = native(x).copy()
    read_only = x.copy()
    read_only.flags.writeable = False
    for other in (read_only, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1].copy()[::-1]):
        np.testing.assert_array_equal(native(other), wanted)
    first = native(x)
    native(numbers(1))
    np.testing.assert_array_equal(first, wanted)
    assert all(output.flags.writeable and output.flags.c_contiguous for output in native.solve(x).outputs.values())


def test_a_model_with_a_library_travels(native):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(native))(numbers()), native(numbers()))


def test_the_cache_of_the_user_is_used_where_no_folder_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ArtifactError, match="no library was built from .* odelet build .* --target native"):
        odelet.load(place / "artifact", engine="native")
    result = build(place / "artifact", "native")
    assert tmp_path in result.path.parents
    odelet.load(place / "artifact", engine="native")(numbers())


def test_libraries_that_do_not_fit_are_refused(place, tmp_path):
    with pytest.raises(InputError, match="engine='metal' is not one of 'onnxruntime', 'native'"):
        odelet.load(place / "artifact", engine="metal")
    with pytest.raises(InputError, match="is for engine='native'; leave one of them out"):
        odelet.load(place / "artifact", library=place / "library")
    with pytest.raises(InputError, match="leave device, threads and memory out"):
        odelet.load(place / "artifact", engine="native", library=place / "library", threads=2)
    with pytest.raises(ArtifactError, match="it holds no library that was built for odelet"):
        odelet.load(place / "artifact", engine="native", library=tmp_path)
    other = shutil.copytree(place / "library", tmp_path / "other")
    with next(other.glob("*.so")).open("ab") as file:
        file.write(b"more")
    with pytest.raises(ArtifactError, match="it was changed after it was built"):
        odelet.load(place / "artifact", engine="native", library=other)
    export(Net(), (torch.rand(2, 3),), tmp_path / "second", profile="c", samples=1, rtol=1e-2)
    with pytest.raises(ArtifactError, match="the library was built from another artifact"):
        odelet.load(tmp_path / "second", engine="native", library=place / "library")


class Products(nn.Module):
    """Products of all kinds of sizes, with constants and with inputs, and small powers; no solve."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        sizes = (3, 70, 130, 8, 5)
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)])

    def forward(self, x, y):
        z = x
        for layer in self.layers:
            z = torch.tanh(layer(z)) ** 3 + layer(z).square()
        return z, x @ y, x[:, :, None] * x[:, None, :], (z.T @ x) ** 2


def test_products_and_powers_are_those_of_the_graph(tmp_path):
    model = Products()
    export(model, (torch.rand(4, 3), torch.rand(3, 66)), tmp_path / "out", form="plain", profile="c", samples=1)
    assert build(tmp_path / "out", "native", tmp_path / "library").tested.passed
    ours = odelet.load(tmp_path / "out", engine="native", library=tmp_path / "library")
    theirs = odelet.load(tmp_path / "out")
    rng = np.random.default_rng(0)
    for scale in (1.0, 30.0):
        x, y = (scale * rng.normal(size=size).astype(np.float32) for size in ((4, 3), (3, 66)))
        for a, b in zip(ours(x, y), theirs(x, y), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5 * np.abs(b).max())
    x[0, 0], x[1, 1] = np.nan, np.inf
    for a, b in zip(ours(x, y), theirs(x, y), strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))


def built(folder, model, *args, **settings):
    """The artifact of a model in ONNX Runtime, and its library."""
    export(model, args, folder / "out", profile="c", quick=True, samples=1, **settings)
    assert build(folder / "out", "native", folder / "library").tested.passed
    native = odelet.load(folder / "out", engine="native", library=folder / "library")
    return odelet.load(folder / "out"), native


class LookUp(nn.Module):
    """Numbers of the inputs choose in tables, by reading and by writing, and divide."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(10, 3)

    def forward(self, ids, n, k):
        y = torchdiffeq.odeint(lambda t, y: -y, self.table(ids), torch.tensor([0.0, 1.0]), method="euler")[-1]
        return y, torch.zeros(2, 3).scatter(1, n.clamp(max=2)[:, None], 1.0), n // k, y.gather(1, n[:, None])


def test_numbers_outside_a_table_are_refused(tmp_path):
    ids, n, k = torch.tensor([1, 9]), torch.tensor([0, 2]), torch.tensor([1, 3])
    graphs, native = built(tmp_path, LookUp(), ids, n, k)
    for good in ((ids, n, k), (ids * 0, n * 0 + 1, -k)):
        for ours, theirs in zip(native(*map(np.asarray, good)), graphs(*map(np.asarray, good)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for bad in (
        (ids + 1, n, k),
        (ids + 10**8, n, k),
        (ids - 100, n, k),
        (ids, n + 1, k),
        (ids, n - 10**9, k),
        (ids, n, k * 0),
    ):
        for model in (graphs, native):
            with pytest.raises(InputError):
                model(*map(np.asarray, bad))
    # The calls after a refused one are as before.
    np.testing.assert_allclose(native(*map(np.asarray, (ids, n, k)))[0], graphs(*map(np.asarray, (ids, n, k)))[0])


def test_special_numbers_stay_what_they_are(tmp_path):
    def model(x):
        y = torchdiffeq.odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="euler")[-1]
        functions = (torch.relu, torch.sigmoid, torch.tanh, nn.functional.softplus, nn.functional.elu)
        sums = (torch.logsumexp(x, -1), torch.softmax(x, -1), torch.log_softmax(x, -1), x * 0.0)
        return y, *(function(x) for function in functions), *sums, x.sort(-1)[0], x.topk(2)[1]

    graphs, native = built(tmp_path, model, torch.randn(2, 4))
    for row in ([1000, -1000, 0, 50], [-200, -200, -200, -200], [0.5, np.inf, 1, 2], [1, np.nan, 2, 3]):
        x = np.array([row, [1, 2, 3, 4]], np.float32)
        ours, theirs = native.solve(x), graphs.solve(x)
        assert ours.status is theirs.status
        assert (ours.status is Status.NOT_FINITE) == (not np.isfinite(x).all())
        for a, b in list(zip(ours.outputs.values(), theirs.outputs.values(), strict=True))[:-2]:
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_a_description_that_was_changed_is_refused(place, tmp_path):
    library = shutil.copytree(place / "library", tmp_path / "library")
    data = json.loads((library / NATIVE_FILE).read_text())
    for change in ({"arena": 8}, {"settings": {}}, {"checksum": "0" * 64}):
        (library / NATIVE_FILE).write_text(json.dumps(data | change))
        with pytest.raises(ArtifactError, match="it was changed after it was written"):
            odelet.load(place / "artifact", engine="native", library=library)


@pytest.fixture
def command(place, tmp_path, monkeypatch, capsys):
    """A function that runs a command of the runtime on the artifact; the cache of the user is empty."""
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    monkeypatch.setattr(native_engine, "library_folder", lambda digest: tmp_path / "cache")
    monkeypatch.setattr(bench_native, "library_folder", lambda digest: tmp_path / "cache")
    return lambda name, *words: call(capsys, name, place / "artifact", *words)


def test_the_bench_times_a_library_on_request_alone(command, place, tmp_path, monkeypatch):
    code, out, _ = command("bench", "--seconds", "0.05")
    assert code == 0 and "native      not timed: no library was built from it on this machine" in out
    shutil.copytree(place / "library", tmp_path / "cache")
    opened = []
    monkeypatch.setattr(native_engine, "NativeRun", lambda *args: opened.append(args))
    code, out, _ = command("bench", "--seconds", "0.05")
    assert code == 0 and "a library was built from it on this machine; time it, too, with --engine native" in out
    assert opened == []


@pytest.mark.parametrize("words", [["--engine", "native"], ["--library", "LIBRARY"]])
def test_the_bench_shows_a_library_beside_onnx_runtime(words, command, place, tmp_path):
    shutil.copytree(place / "library", tmp_path / "cache")
    words = [place / "library" if word == "LIBRARY" else word for word in words]
    code, out, _ = command("bench", "--seconds", "0.1", *words, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["native"]["latency_ms"]["p50"] > 0 and told["native"]["share"] > 0
    # Rounding may move the ends of steps, whose errors are of the size of the tolerance.
    assert all(x < 1e-3 for x in told["native"]["differences"].values())
    code, out, _ = command("bench", "--seconds", "0.05", *words)
    assert code == 0 and "of the time of ONNX Runtime" in out and ", from ONNX Runtime" in out


def test_commands_run_a_model_by_its_library(command, place, native, tmp_path):
    library = ("--library", place / "library")
    code, out, _ = command("verify", *library)
    assert code == 0 and out.rstrip().endswith("passed")
    np.savez(tmp_path / "x.npz", x=numbers())
    code, _, err = command("run", "--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz", *library)
    assert code == 0, err
    with np.load(tmp_path / "y.npz") as written:
        np.testing.assert_array_equal(written["output"], native(numbers()))


@pytest.mark.parametrize("name", ["bench", "verify", "run"])
def test_commands_refuse_engines_that_are_not_there(name, command, tmp_path):
    np.savez(tmp_path / "x.npz", x=numbers())
    files = ["--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz"] if name == "run" else []
    for words, said in (
        (["--engine", "native"], "no library was built from"),
        (["--engine", "metal"], "engine='metal' is not one of 'onnxruntime', 'native'"),
        (["--library", tmp_path], "it holds no library that was built for odelet"),
        (["--engine", "onnxruntime", "--library", tmp_path], "is for engine='native'; leave one of them out"),
        (["--engine", "native", "--device", "cuda"], "runs on one thread of the CPU|device"),
    ):
        code, _, err = command(name, *files, *words)
        assert code == 2 and re.search(said, err), err
