"""What was checked is what runs: after `load` no file of an artifact matters, and no load mixes two artifacts."""

import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from support.artifacts import (
    F32,
    I64,
    affine_card,
    driven_card,
    driven_models,
    external_model,
    node,
    onnx_model,
    outside,
    scalar,
    value,
    write,
)
from support.paths import ROOT

import odelet
from odelet.artifact import reading
from odelet.artifact.folder import check
from odelet.artifact.samples import samples_of
from odelet.artifact.weights import DTYPES
from odelet.errors import ArtifactError

FOLDER = ROOT / "tests" / "whole" / "artifacts-0.1"
ARTIFACTS = sorted(path.parent.name for path in FOLDER.glob("*/odelet.json"))
X = np.ones((2, 3), np.float32)


def delete(path):
    path.unlink()


def cut(path):
    os.truncate(path, 0)


def overwrite(path):
    with path.open("r+b") as file:
        file.write(b"\x01" * path.stat().st_size)


def replace(path):
    new = path.with_name("new")
    new.write_bytes(bytes(path.stat().st_size))
    new.replace(path)


@pytest.mark.parametrize("harm", [cut, overwrite, replace, delete])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_no_file_matters_after_load(tmp_path, name, harm):
    folder = shutil.copytree(FOLDER / name, tmp_path / "a")
    samples = [inputs for inputs, _, _ in samples_of(check(folder).card, folder)]
    expected = [odelet.load(FOLDER / name).solve(**inputs).outputs for inputs in samples]
    called, fresh = odelet.load(folder), odelet.load(folder)
    called.solve(**samples[0])
    for path in list(folder.iterdir()):
        harm(path)
    for model in (called, fresh):
        for inputs, outputs in zip(samples, expected, strict=True):
            found = model.solve(**inputs).outputs
            for key, array in outputs.items():
                np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize("harm", [cut, overwrite, replace, delete])
def test_no_lone_file_matters_after_load(tmp_path, harm):
    path = shutil.copy(FOLDER / "adaptive" / "model.onnx", tmp_path)
    inputs = samples_of(check(FOLDER / "adaptive").card, FOLDER / "adaptive")[0][0]
    model, expected = odelet.load(path), odelet.load(FOLDER / "adaptive")(**inputs)
    harm(Path(path))
    np.testing.assert_array_equal(model(**inputs), expected)


def write_shifted(folder, shift):
    """y = x + shift, with the shift in weights.bin."""
    card = affine_card(solves=(), name=f"Shifted{shift}")
    weights = np.full(3, shift, np.float32).tobytes()
    return write(folder, card, {"model.onnx": external_model(card)}, blobs={"weights.bin": weights})


@pytest.fixture(params=["by descriptor", "by path"])
def either_way(request, monkeypatch):
    """Read folders as this platform can, and as one that cannot open a file of an open folder."""
    if request.param == "by path":
        monkeypatch.setattr(reading, "_IN_FOLDER", False)


def swap(folder, other):
    """Put another folder in the place of one."""
    folder.rename(folder.with_name("before"))
    other.rename(folder)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("at", ["odelet.json", "model.onnx", "weights.bin"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_folder_that_is_replaced_while_it_is_read_is_the_old_or_the_new(tmp_path, monkeypatch, at, when):
    folder, other = (write_shifted(tmp_path / f"v{shift}", shift) for shift in (1, 2))
    opened, swapped = reading.OpenFolder._opened, []

    def swapping(self, name, *args):
        if name == at and not swapped and when == "before":
            swapped.append(swap(folder, other))
        found = opened(self, name, *args)
        if name == at and not swapped:
            found.__enter__()
            swapped.append(swap(folder, other))
            found = opened(self, name, *args)
        return found

    monkeypatch.setattr(reading.OpenFolder, "_opened", swapping)
    model = odelet.load(folder)
    assert swapped
    shift = int(model.card.name.removeprefix("Shifted"))
    np.testing.assert_array_equal(model(X), X + shift)
    if reading._IN_FOLDER:
        # The folder that was opened is still whole under its other name.
        assert shift == 1


def test_a_folder_that_is_replaced_and_removed_is_the_new(tmp_path, monkeypatch):
    folder, other = (write_shifted(tmp_path / f"v{shift}", shift) for shift in (1, 2))
    opened, swapped = reading.OpenFolder._opened, []

    def swapping(self, name, *args):
        if name == "weights.bin" and not swapped:
            swapped.append(swap(folder, other))
            shutil.rmtree(tmp_path / "before")
        return opened(self, name, *args)

    monkeypatch.setattr(reading.OpenFolder, "_opened", swapping)
    np.testing.assert_array_equal(odelet.load(folder)(X), X + 2)


def test_a_file_that_changes_after_its_check_is_not_what_runs(tmp_path, monkeypatch):
    folder = write_shifted(tmp_path / "a", 1)
    read = reading.OpenFolder.read_weights

    def then_changed(self, name, entry):
        data = read(self, name, entry)
        overwrite(folder / name)
        return data

    monkeypatch.setattr(reading.OpenFolder, "read_weights", then_changed)
    np.testing.assert_array_equal(odelet.load(folder)(X), X + 1)


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    folder = write_shifted(tmp_path / "a", 1)
    size = reading.OpenFolder._size

    def grows(self, path, *args):
        found = size(self, path, *args)
        if path.name == "weights.bin":
            path.write_bytes(bytes(13))
        return found

    monkeypatch.setattr(reading.OpenFolder, "_size", grows)
    with pytest.raises(ArtifactError, match=r"weights.bin: it changed while it was read"):
        odelet.load(folder)


def loads_beside_a_writer(folder, write_once, count=60):
    """Load again and again while a thread writes. Returns the shifts that were found and the errors."""
    done, shifts, errors = threading.Event(), [], []

    def writer():
        turn = 0
        while not done.is_set():
            turn += 1
            write_once(turn)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(count):
            try:
                model = odelet.load(folder)
            except ArtifactError as error:
                errors.append(error)
                continue
            shift = int(model.card.name.removeprefix("Shifted"))
            np.testing.assert_array_equal(model(X), X + shift)
            shifts.append(shift)
    finally:
        done.set()
        thread.join()
    return shifts, errors


def test_loads_beside_a_writer_that_replaces_the_folder(tmp_path):
    versions = [write_shifted(tmp_path / f"v{shift}", shift) for shift in (0, 1)]
    folder, before = tmp_path / "a", []

    def replace_once(turn):
        # A link is replaced in one step on every system; the folder that it led to is removed.
        new = shutil.copytree(versions[turn % 2], tmp_path / f"copy{turn}")
        (tmp_path / "link").symlink_to(new)
        (tmp_path / "link").replace(folder)
        if before:
            shutil.rmtree(before.pop())
        before.append(new)

    replace_once(0)
    shifts, errors = loads_beside_a_writer(folder, replace_once)
    assert not errors
    assert set(shifts) == {0, 1}


def test_loads_beside_a_writer_that_writes_over_the_files(tmp_path):
    versions = [write_shifted(tmp_path / f"v{shift}", shift) for shift in (0, 1)]
    folder = shutil.copytree(versions[0], tmp_path / "a")

    def copy_once(turn):
        for path in versions[turn % 2].iterdir():
            shutil.copy(path, folder / path.name)

    shifts, errors = loads_beside_a_writer(folder, copy_once)
    assert set(shifts) <= {0, 1}
    assert all(re.search("sha256|bytes|changed|JSON|no card|checksum", str(error)) for error in errors)


def write_heavy(folder, size):
    """A driven model whose field and step graph both read from one table of `size` numbers."""
    models = driven_models()
    for name, result in (("solve_0_field.onnx", "k"), ("solve_0_step.onnx", "y1")):
        graph = models[name].graph
        graph.initializer.append(outside("table", [size]))
        graph.initializer.append(scalar("i", I64, 3))
        graph.node.append(node("Gather", "table i", "one"))
        graph.node[0].output[0] = "plain"
        graph.node.append(node("Mul", "plain one", result))
    return write(folder, driven_card(), models, blobs={"weights.bin": np.ones(size, np.float32).tobytes()})


def anonymous_memory():
    """The memory of this process that no file backs, in bytes."""
    found = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it reads /proc")
def test_graphs_share_one_copy_of_a_weight(tmp_path):
    size = 8 * 2**20
    folder = write_heavy(tmp_path, size)
    before = anonymous_memory()
    model = odelet.load(folder)
    added = anonymous_memory() - before
    assert 0.9 * 4 * size < added < 1.5 * 4 * size
    np.testing.assert_array_equal(model(X), model(X))


@pytest.mark.parametrize("kind", DTYPES)
def test_a_weight_of_each_dtype(tmp_path, kind):
    card = affine_card(solves=())
    nodes = [node("Cast", "w", "v", to=F32), node("Add", "x v", "y")]
    x, y = value("x", F32, ["batch", 3]), value("y", F32, ["batch", 3])
    one = np.ones(3, np.float32).view(np.uint16)[1::2] if kind == 16 else np.ones(3, DTYPES[kind])
    model = onnx_model(nodes, [x], [y], [outside("w", [3], kind=kind)])
    write(tmp_path, card, {"model.onnx": model}, blobs={"weights.bin": one.tobytes()})
    np.testing.assert_array_equal(odelet.load(tmp_path)(X), X + 1)


MISPLACED = {
    "beyond the end": (outside("w", [4]), "the weight 'w' of 16 bytes is not in weights.bin at 0"),
    "offset": (outside("w", [3], offset="8"), "of 12 bytes is not in weights.bin at 8"),
    "length": (outside("w", [3], length="8"), "of 12 bytes is not in weights.bin at 0"),
    "odd offset": (outside("w", [2], offset="2"), "of 8 bytes is not in weights.bin at 2"),
    "negative size": (outside("w", [-3]), "is not in weights.bin|not a readable"),
    "negative offset": (outside("w", [3], offset="-1"), "the offset of the tensor 'w' in another file is '-1'"),
    "type": (outside("w", [3], kind=17), "the weight 'w' in weights.bin has the type 17"),
    "no name": (outside("", [3]), "is there twice, or has no name"),
}


@pytest.mark.parametrize(("tensor", "message"), MISPLACED.values(), ids=MISPLACED)
def test_weights_that_are_not_in_their_file(tmp_path, tensor, message):
    card = affine_card(solves=())
    x, y = value("x", F32, ["batch", 3]), value("y", F32, ["batch", 3])
    model = onnx_model([node("Add", "x w", "y")], [x], [y], [tensor])
    write(tmp_path, card, {"model.onnx": model}, blobs={"weights.bin": bytes(12)})
    with pytest.raises(ArtifactError, match=message):
        odelet.load(tmp_path)


def test_a_tensor_in_another_file_that_is_no_initializer(tmp_path):
    card = affine_card(solves=())
    constant = node("Constant", "", "w", value=outside("w", [3]))
    x, y = value("x", F32, ["batch", 3]), value("y", F32, ["batch", 3])
    model = onnx_model([constant, node("Add", "x w", "y")], [x], [y], card=card)
    write(tmp_path, card, {"model.onnx": model}, blobs={"weights.bin": bytes(12)})
    with pytest.raises(ArtifactError, match=r"keeps a tensor in 'weights.bin' that is no initializer of the graph"):
        odelet.load(tmp_path)
