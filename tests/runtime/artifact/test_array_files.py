"""Arrays in files: every dtype comes back, and an output file is there whole or not at all."""

import os

import numpy as np
import pytest
from support.artifacts import affine_card

import odelet
from odelet.artifact import array_files as files
from odelet.artifact.card import Card, Tensor

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def card_with(shape, dtype="float32"):
    tensor = (Tensor(name="v", dtype=dtype, shape=shape),)
    return Card(**{**affine_card(solves=()).__dict__, "inputs": tensor, "outputs": tensor})


def test_a_csv_holds_two_axes(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("1,0\n")
    with pytest.raises(odelet.InputError, match=r"input 'v' is float32 \[3\]; a .csv holds two axes"):
        files.read_inputs(path, card_with((3,)))
    with pytest.raises(odelet.InputError, match=r"the output is float32 \[\]; a .csv holds two axes"):
        files.check_output(path, card_with(()))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool"])
def test_a_csv_brings_back_every_dtype(tmp_path, dtype):
    values = np.array([[1, 0], [1, 1]]) if dtype == "bool" else np.array([[1 / 3, 2**7 + 0.7], [1, 0]])
    values = values.astype(dtype)
    path = tmp_path / "v.csv"
    files.write_outputs(path, {"v": values})
    back = files.read_inputs(path, card_with(("n", "m"), dtype))["v"]
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, values)


def test_a_csv_of_numbers_for_a_bool_or_integer_input(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("1,2\n")
    with pytest.raises(odelet.InputError, match="it holds numbers other than 0 and 1"):
        files.read_inputs(path, card_with((1, 2), "bool"))
    path.write_text("1,2.5\n")
    with pytest.raises(odelet.InputError, match="it is not a table of int64"):
        files.read_inputs(path, card_with((1, 2), "int64"))


def test_outputs_may_have_any_name(tmp_path):
    path = tmp_path / "v.npz"
    outputs = {"file": X, "a.b/c": X + 1, "allow_pickle": np.array(1)}
    files.write_outputs(path, outputs)
    back = files.read_npz(path)
    assert list(back) == list(outputs)
    np.testing.assert_array_equal(back["a.b/c"], X + 1)


def test_a_link_to_an_output_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "v.npy").symlink_to("disk/long.npy")
    for number in (1.0, 2.0):
        files.write_outputs(tmp_path / "v.npy", {"v": np.array(number)})
        assert np.load(tmp_path / "disk" / "long.npy") == number
    assert (tmp_path / "v.npy").is_symlink()
    assert len(list(tmp_path.rglob("*"))) == 3


def test_an_output_that_is_no_file_stays_as_it_is(tmp_path):
    circle, folder, device = tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "c.npy"
    circle.symlink_to(circle)
    folder.mkdir()
    device.symlink_to(os.devnull)
    for path, message in ((circle, "symbolic links"), (folder, "not a plain file"), (device, "not a plain file")):
        with pytest.raises(odelet.InputError, match=rf"it cannot be written .*{message}"):
            files.write_outputs(path, {"v": X})
    assert sorted(tmp_path.iterdir()) == [circle, folder, device]


def test_a_name_of_the_greatest_length(tmp_path):
    path = tmp_path / ("n" * 251 + ".npy")
    files.write_outputs(path, {"v": X})
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "v.npy"
    path.write_text("old")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(odelet.InputError, match="v.npy: it cannot be written .No space left on device"):
        files.write_outputs(path, {"v": X})
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]
    assert path.read_text() == "old"
