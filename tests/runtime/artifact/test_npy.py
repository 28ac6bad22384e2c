"""Files of arrays from anywhere: arrays of numbers, or one line that names the file and the member."""

import os
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

import odelet
from odelet.artifact.card import Tensor
from odelet.artifact.npy import read_npy, read_npz

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(header, body=b"", *, version=2):
    text = header.encode("latin1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(4 if version > 1 else 2, "little") + text + body


def header(shape, descr="'<f4'", fortran=False):
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


# What a member of an .npz, or an .npy, may be, and what the message says of it.
WRONG = {
    "no bytes": (b"", "does not begin as an array"),
    "text": (b"hello there", "does not begin as an array"),
    "a version that there is not": (npy(header("(1,)"), bytes(4), version=3), "does not begin as an array"),
    "brackets": (npy("(" * 100), "its header says no dtype"),
    "many brackets": (npy("(" * 9000), "its header says no dtype"),
    "a header of another kind": (npy("[1, 2]"), "its header says no dtype"),
    "a header that is cut": (npy(header("(1,)"))[:40], "its header is too long"),
    "a long header": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 64, "its header is too long"),
    "a call": (npy(header("__import__('os').getpid()")), "its header says no dtype"),
    "2^40 numbers": (npy(header("(1099511627776,)")), "promises 4398046511104 bytes of numbers"),
    "2^64 numbers": (npy(header("(18446744073709551616,)")), "promises"),
    "less than nothing": (npy(header("(-1,)"), bytes(4)), "its shape is"),
    "too few": (npy(header("(3,)"), bytes(8)), "promises 12 bytes of numbers .float32 .3..; 8 are there"),
    "too many": (npy(header("(3,)"), bytes(16)), "promises 12 bytes of numbers .float32 .3..; 16 are there"),
    "objects": (npy(header("(1,)", "'|O'"), b"cos\nsystem\n."), "holds Python objects, which are never unpickled"),
    "text in arrays": (npy(header("(1,)", "'<U4'"), bytes(16)), "it holds <U4; expected numbers"),
    "complex numbers": (npy(header("(1,)", "'<c8'"), bytes(8)), "it holds complex64; expected numbers"),
    "long doubles": (npy(header("(1,)", "'<f16'"), bytes(16)), "it holds .*; expected numbers"),
    "fields": (npy(header("(1,)", "[('a', '<f4')]"), bytes(4)), "expected numbers"),
    "no bool": (npy(header("(2,)", "'|b1'"), b"\1\2"), "bytes other than 0 and 1"),
}


@pytest.mark.parametrize(("member", "message"), WRONG.values(), ids=WRONG)
def test_an_array_that_is_none(tmp_path, member, message):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member)
    with pytest.raises(odelet.InputError, match=f"x.npz: member 'x': .*{message}"):
        read_npz(path)
    (tmp_path / "x.npy").write_bytes(member)
    with pytest.raises(odelet.InputError, match=f"x.npy: .*{message}"):
        read_npy(tmp_path / "x.npy", judge=lambda header: None)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3)])
def test_what_numpy_writes_is_read(tmp_path, dtype, shape):
    array = np.ones(shape).astype(dtype)
    array = np.asfortranarray(array) if array.ndim == 2 else array
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", x=array, y=X)
    for back in (read_npy(tmp_path / "x.npy", judge=lambda header: None), read_npz(tmp_path / "x.npz")["x"]):
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
        assert back.flags.writeable


def archive_of(path, edit):
    np.savez_compressed(path, x=np.zeros((50, 3), np.float32))
    data = bytearray(path.read_bytes())
    edit(data, data.index(b"PK\1\2"))
    path.write_bytes(data)


def test_archives_that_lie(tmp_path):
    path = tmp_path / "x.npz"
    for edit, message in (
        # The size in the list of members, then the flag of an encrypted member, a checksum, and a way of packing.
        (lambda data, at: struct.pack_into("<I", data, at + 24, 2**31), "promises 2147483648 bytes, which .* cannot"),
        (lambda data, at: struct.pack_into("<H", data, at + 8, 1), "encrypted"),
        (lambda data, at: struct.pack_into("<I", data, at + 16, 7), "Bad CRC-32"),
        (lambda data, at: struct.pack_into("<H", data, at + 10, 77), "not a readable .npy"),
        (lambda data, at: data.__delitem__(slice(at, None)), "not a readable .npz"),
    ):
        archive_of(path, edit)
        with pytest.raises(odelet.InputError, match=f"x.npz: .*{message}"):
            read_npz(path)


def test_members_that_are_no_arrays_and_members_that_are_there_twice(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(odelet.InputError, match=r"x.npz: member 'notes.txt': it is no array"):
        read_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy(header("(1,)"), bytes(4)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.npy", npy(header("(1,)"), bytes(4)))
    with pytest.raises(odelet.InputError, match=r"x.npz: member 'x': it is there twice"):
        read_npz(path)


def test_a_bomb_is_judged_by_its_header(tmp_path):
    """A member that unpacks to 256 MB is refused before any of it is unpacked."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(npy(header(f"({2**26},)")))
        for _ in range(2**8):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    tensor = Tensor(name="x", dtype="float32", shape=("batch", 3))

    def judge(header):
        if not tensor.takes(header.dtype, header.shape):
            raise odelet.InputError("it does not fit the card")

    tracemalloc.start()
    try:
        with pytest.raises(odelet.InputError, match="x.npz: member 'x': it does not fit the card"):
            read_npz(path, judge=judge)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_more_than_the_machine_has(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez(path, x=X, y=X)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 40}[name])
    with pytest.raises(odelet.InputError, match=r"x.npz: its arrays take 48 bytes, and this machine has 40"):
        read_npz(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for name, message in (("pipe.npz", "not a plain file"), ("", "it is a folder"), ("none.npz", "No such file")):
        with pytest.raises(odelet.InputError, match=message):
            read_npz(tmp_path / name)


def test_changed_bytes_give_arrays_or_an_input_error(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=X, y=X.astype(np.int64))
    data, dice = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(1500):
        changed = bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 8))):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        try:
            read_npz(path, data=bytes(changed[: dice.choice((len(changed), dice.randrange(len(changed))))]))
        except odelet.InputError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > 500
