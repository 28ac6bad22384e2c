"""Loading an artifact: everything that docs/artifact.md says is checked, before any session is opened."""

import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from support.artifacts import (
    F32,
    affine_card,
    affine_model,
    affine_nodes,
    driven_card,
    edit_card,
    external_model,
    model_bytes,
    node,
    onnx_model,
    value,
    write,
    write_affine,
)

import odelet
from odelet.artifact import reading
from odelet.artifact.folder import check
from odelet.engine import session
from odelet.errors import ArtifactError, InputError

X = np.ones((2, 3), np.float32)


@pytest.fixture
def folder(tmp_path):
    return write_affine(tmp_path / "out")


@pytest.fixture
def no_session(monkeypatch):
    """Fail when a session is opened: what the test expects must come first."""

    def opened(*args, **kwargs):
        raise AssertionError("a session was opened")

    monkeypatch.setattr(session.ort, "InferenceSession", opened)


def refused(path, message):
    with pytest.raises(ArtifactError, match=message):
        odelet.load(path)


def test_a_good_folder_loads_and_runs(folder):
    np.testing.assert_array_equal(odelet.load(folder)(X), 2 * X + 1)
    np.testing.assert_array_equal(odelet.load(str(folder))(X), 2 * X + 1)


def test_a_lone_file_loads_under_any_name(folder, tmp_path):
    lone = tmp_path / "renamed.onnx"
    lone.write_bytes((folder / "model.onnx").read_bytes())
    model = odelet.load(lone)
    assert model.card.name == "Affine"
    np.testing.assert_array_equal(model(X), 2 * X + 1)


@pytest.mark.usefixtures("no_session")
class TestBeforeAnySession:
    def test_missing(self, tmp_path):
        refused(tmp_path / "nowhere", "nowhere: there is no such folder or file; give the folder")

    def test_no_card(self, tmp_path):
        refused(tmp_path, "it has no odelet.json, so it is not an artifact")

    def test_another_kind_of_file(self, tmp_path):
        (tmp_path / "model.pt").write_bytes(b"")
        refused(tmp_path / "model.pt", "expected an artifact's folder or an .onnx file")

    def test_card_that_is_no_json(self, folder):
        (folder / "odelet.json").write_text("{")
        refused(folder, "card: it is not valid JSON")

    def test_card_that_is_too_large(self, folder, monkeypatch):
        monkeypatch.setattr(reading.OpenFolder.read, "__kwdefaults__", {"limit": 10})
        refused(folder, "too many for a card")

    def test_newer_format(self, folder):
        edit_card(folder, lambda card: card.update(format=3))
        refused(folder, "format 3 .* is newer .*pip install --upgrade odelet")

    @pytest.mark.parametrize("name", ["model.onnx", "samples.npz"])
    def test_missing_file(self, folder, name):
        (folder / name).unlink()
        refused(folder, f"{name}: the card lists it, but it is missing")

    @pytest.mark.parametrize("name", ["model.onnx", "samples.npz"])
    def test_truncated_file(self, folder, name):
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        refused(folder, f"{name}: it has .* bytes where the card says .* cut short")

    @pytest.mark.parametrize("name", ["model.onnx", "samples.npz"])
    def test_changed_byte(self, folder, name):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        refused(folder, f"{name}: its sha256 is not the one in the card")

    def test_graph_that_is_not_listed(self, folder):
        edit_card(folder, lambda card: card["files"].pop("model.onnx"))
        refused(folder, "model.onnx is used, but is not among the files that the card lists")

    def test_folder_in_place_of_a_file(self, folder):
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").mkdir()
        refused(folder, "model.onnx: it is not a plain file")

    def test_pipe_in_place_of_a_file(self, folder):
        (folder / "samples.npz").unlink()
        os.mkfifo(folder / "samples.npz")
        refused(folder, "samples.npz: it is not a plain file")

    def test_link_that_leaves_the_folder(self, folder, tmp_path):
        (tmp_path / "elsewhere.onnx").write_bytes((folder / "model.onnx").read_bytes())
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
        refused(folder, "model.onnx: it is a link that leaves the folder")

    def test_link_in_a_circle(self, folder):
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").symlink_to(folder / "model.onnx")
        refused(folder, "model.onnx: ")

    def test_foreign_operator(self, tmp_path):
        nodes = affine_nodes()
        nodes[0].domain = "com.microsoft"
        card = affine_card()
        write_affine(tmp_path, card, nodes=nodes)
        refused(tmp_path, "model.onnx: it uses the operator 'Mul' of domain 'com.microsoft'; only ONNX's own")

    @pytest.mark.parametrize("location", ["other.bin", "../weights.bin", "model.onnx", "./weights.bin"])
    def test_external_data_that_is_not_listed(self, tmp_path, location):
        card = affine_card(solves=())
        model = external_model(card, location=location)
        write(tmp_path, card, {"model.onnx": model}, blobs={"weights.bin": bytes(12)})
        refused(tmp_path, f"model.onnx: it keeps weights in '{location}', which the card does not list")

    def test_lone_file_with_external_data(self, tmp_path):
        card = affine_card(solves=())
        write(tmp_path, card, {"model.onnx": external_model(card)}, blobs={"weights.bin": bytes(12)})
        refused(tmp_path / "model.onnx", "it keeps weights in 'weights.bin'.*load the whole folder")

    def test_lone_file_that_odelet_did_not_write(self, tmp_path):
        model = onnx_model([node("Neg", "x", "y")], [value("x", F32, [1])], [value("y", F32, [1])])
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        refused(tmp_path / "model.onnx", "it carries no card, so odelet did not write it")

    def test_lone_part_of_a_driven_artifact(self, tmp_path):
        card = driven_card()
        part = onnx_model([], [value("x", F32, [1])], [value("x", F32, [1])], card=card)
        (tmp_path / "segment_0.onnx").write_bytes(part.SerializeToString())
        refused(tmp_path / "segment_0.onnx", "it is one of several graphs of an artifact; load the whole folder")

    def test_lone_file_that_is_no_model(self, tmp_path):
        (tmp_path / "model.onnx").write_bytes(b"oops")
        refused(tmp_path / "model.onnx", "model.onnx is not a readable ONNX file")

    def test_device_and_threads_come_first(self, tmp_path):
        with pytest.raises(InputError, match="device='tpu' is unknown; expected one of 'cpu', 'cuda'"):
            odelet.load(tmp_path / "nowhere", device="tpu")
        for threads in (0, -1, 1.5, True, 10**6):
            with pytest.raises(InputError, match=f"threads={threads!r} must be a whole number from 1"):
                odelet.load(tmp_path / "nowhere", threads=threads)

    def test_cuda_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.setattr(session.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(InputError, match="needs CUDAExecutionProvider, .* has only CPUExecutionProvider"):
            odelet.load(tmp_path / "nowhere", device="cuda")


def test_cuda_that_cannot_start(folder, monkeypatch):
    monkeypatch.setattr(session, "DEVICES", {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"})
    monkeypatch.setattr(session, "_providers", lambda device, capture: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match="CUDAExecutionProvider is there but could not start"):
        session.open_session(folder / "model.onnx", device="cuda")


def test_listed_external_data_is_followed(tmp_path):
    card = affine_card(solves=())
    weights = np.array([1, 2, 3], np.float32)
    write(tmp_path, card, {"model.onnx": external_model(card)}, blobs={"weights.bin": weights.tobytes()})
    np.testing.assert_array_equal(odelet.load(tmp_path)(X), X + weights)
    (tmp_path / "weights.bin").write_bytes(bytes(12))
    refused(tmp_path, "weights.bin: its sha256 is not the one in the card")


def test_a_link_inside_the_folder_is_followed(folder):
    (folder / "model.onnx").rename(folder / "real.onnx")
    (folder / "model.onnx").symlink_to("real.onnx")
    np.testing.assert_array_equal(odelet.load(folder)(X), 2 * X + 1)


def test_files_that_the_card_does_not_list_are_not_read(folder):
    (folder / "parity.md").mkdir()
    (folder / "notes.txt").symlink_to(folder / "nowhere")
    for name in ("parity.md", "notes.txt"):
        with pytest.raises(OSError):
            (folder / name).read_bytes()
    (folder / "other.onnx").write_bytes(b"not a graph")
    odelet.load(folder)
    for name in ("parity.md", "notes.txt", "other.onnx"):
        entry = {name: {"sha256": "0" * 64, "bytes": 11}}
        edit_card(folder, lambda card, entry=entry: card["files"].update(entry))
        with pytest.raises(ArtifactError, match=name):
            odelet.load(folder)
        edit_card(folder, lambda card, name=name: card["files"].pop(name))


def test_a_graph_that_onnxruntime_refuses(tmp_path):
    nodes = affine_nodes()
    nodes[0].op_type = "Gelu"  # which has one input
    write_affine(tmp_path, nodes=nodes)
    refused(tmp_path, r"model.onnx: onnxruntime \S+ cannot load it \(.*Gelu.*upgrade onnxruntime")


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_lone_file_loads_or_is_refused(tmp_path, data):
    good = model_bytes(affine_model())
    at = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["cut", "change"]))
    bad = good[:at] if kind == "cut" else good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    path = tmp_path / "model.onnx"
    path.write_bytes(bad)
    try:
        odelet.load(path)
    except ArtifactError as error:
        assert "\n" not in str(error)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_of_a_folder_is_refused(folder, data):
    path = folder / data.draw(st.sampled_from(["model.onnx", "samples.npz"]))
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    path.write_bytes(good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :])
    try:
        refused(folder, f"{path.name}: its sha256")
    finally:
        path.write_bytes(good)


def test_a_bomb_does_not_go_off_while_loading(tmp_path):
    big = helper.make_tensor("size", 7, [1], [2**33])
    model = onnx_model(
        [node("ConstantOfShape", "size", "zeros"), node("ReduceSum", "zeros", "s"), node("Add", "x s", "y")],
        [value("x", F32, ["batch", 3])],
        [value("y", F32, ["batch", 3])],
        [big],
    )
    write(tmp_path, affine_card(solves=()), {"model.onnx": model})
    odelet.load(tmp_path)


def test_every_bit_of_a_lone_file_is_hashed(tmp_path):
    good = model_bytes(affine_model())
    path = tmp_path / "model.onnx"
    path.write_bytes(good)
    check(path)
    for bit in range(0, 8 * len(good), 29):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(ArtifactError):
            check(path)


def test_a_lone_file_of_format_1_needs_no_digest(tmp_path):
    card = affine_card(format=1)
    model = affine_model(card)
    del model.metadata_props[1]
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(model))
    np.testing.assert_array_equal(odelet.load(path)(X), 2 * X + 1)
    assert "checksum" not in card.to_json()


def test_a_lone_file_that_lost_its_digest(tmp_path):
    model = affine_model()
    del model.metadata_props[1]
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(model))
    refused(path, r"it carries no odelet\.sha256, so it was changed after its export")


def test_a_card_that_lost_its_checksum(folder):
    text = (folder / "odelet.json").read_text()
    (folder / "odelet.json").write_text(text.replace('"rtol": 0.001', '"rtol": 0.101'))
    refused(folder, "card: its checksum is not that of its text, so it was changed after its export")
    (folder / "odelet.json").write_text(re.sub(r',\s*"checksum": "\w+"', "", text))
    refused(folder, "card: its checksum is not that of its text")


@pytest.mark.parametrize("path", [None, 5, [], b"out"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InputError, match="must be the path of an artifact's folder"):
        odelet.load(path)


@pytest.mark.parametrize("path", ["x" * 5000, "x/" * 5000, "\0"])
def test_a_path_that_the_system_refuses(path):
    with pytest.raises(ArtifactError, match="it cannot be opened|there is no such folder"):
        odelet.load(path)
