"""Reads arrays of numbers from .npy and .npz files that may come from anywhere.

The law here: the header of an array is read and judged first, and then exactly as many bytes as it promises; nothing is
unpickled, and whatever the bytes are, the answer is arrays or an InputError that names the file and the member.
"""

from __future__ import annotations

import io
import lzma
import math
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray

_CHUNK = 2**20
_MOST_HEADER = 10_000
# Deflate makes a byte of at most 1032, so that a member that promises more cannot hold it.
_MOST_RATIO = 1032
_NUMBERS = "biuf"
_BROKEN = (
    *(ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, IndexError),
    *(ArithmeticError, AssertionError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@dataclass(frozen=True)
class Header:
    """What an array in a file says of itself, before its numbers are read. name: of the array, "" in an .npy."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def size(self) -> int:
        """The number of bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


# Raises InputError for an array that is not to be read; its message begins with what is wrong, not with the file.
Judge: TypeAlias = Callable[[Header], None]


def judge_nothing(header: Header) -> None:
    """Take every array of numbers."""


def read_npy(path: Path, *, judge: Judge) -> NumpyArray:
    """Return the array of an .npy file. judge: sees the header before the numbers are read. Raises InputError."""
    with _named(path), _plain_file(path) as file:
        if file.read(4) == b"PK\x03\x04":
            raise InputError("it is an .npz, not one array; give it that ending")
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        header = _header(file, "", size, judge)
        _check_memory(header.size)
        return _numbers(file, header)


def read_npz(path: Path, *, judge: Judge = judge_nothing, data: bytes | None = None) -> dict[str, NumpyArray]:
    """Return all arrays of an .npz by name.

    judge: sees the header of each array before any numbers are read. data: the file's bytes, if they were read already.
    Raises InputError.
    """
    with _named(path), _plain_file(path) if data is None else io.BytesIO(data) as file:
        if file.read(6) == b"\x93NUMPY":
            raise InputError("it is one array, not an .npz of named arrays")
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
            headers = {}
            for name, member in members.items():
                with _named(f"member {name!r}"), archive.open(member) as stream:
                    headers[name] = _header(stream, name, member.file_size, judge)
            _check_memory(sum(header.size for header in headers.values()))
            arrays = {}
            for name, member in members.items():
                with _named(f"member {name!r}"), archive.open(member) as stream:
                    stream.seek(member.file_size - headers[name].size)
                    arrays[name] = _numbers(stream, headers[name])
            return arrays


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by the names of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        with _named(f"member {name!r}"):
            if not member.filename.endswith(".npy"):
                raise InputError("it is no array: its name does not end in .npy")
            if name in members:
                raise InputError("it is there twice")
            if member.file_size > _MOST_RATIO * member.compress_size + _CHUNK:
                raise InputError(f"it promises {member.file_size} bytes, which {member.compress_size} cannot hold")
            members[name] = member
    return members


def _header(stream: IO[bytes], name: str, size: int, judge: Judge) -> Header:
    """The header at the beginning of an .npy of so many bytes, judged. The stream stands behind it afterwards."""
    begin = stream.read(12)
    if begin[:6] != b"\x93NUMPY" or begin[6:8] not in (b"\1\0", b"\2\0"):
        raise InputError("it is not a readable .npy: it does not begin as an array of numbers does")
    skipped, length = (10, begin[8:10]) if begin[6] == 1 else (12, begin[8:12])
    end = skipped + int.from_bytes(length, "little")
    if end > min(size, _MOST_HEADER):
        raise InputError("it is not a readable .npy: its header is too long")
    head = io.BytesIO(begin + stream.read(end - len(begin)))
    dtype, shape, fortran = _parsed(head)
    header = Header(name, dtype, shape, fortran)
    if dtype.hasobject:
        raise InputError("it holds Python objects, which are never unpickled; save an array of numbers")
    if dtype.kind not in _NUMBERS or dtype.itemsize > 8:
        raise InputError(f"it holds {dtype}; expected numbers")
    if any(length < 0 for length in shape):
        raise InputError(f"it is not a readable .npy: its shape is {shape}")
    judge(header)
    if header.size != size - end:
        raise InputError(
            f"its header promises {header.size} bytes of numbers ({dtype} {list(shape)}); {size - end} are there"
        )
    return header


def _parsed(head: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """The dtype, the shape, and whether the first axis runs fastest, of a header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old spellings
            version = np.lib.format.read_magic(head)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(head, max_header_size=_MOST_HEADER)
    except Exception:  # numpy has Python's own parser read the text, which fails in many ways
        raise InputError("it is not a readable .npy: its header says no dtype and shape") from None
    return dtype, shape, fortran


def _numbers(stream: IO[bytes], header: Header) -> NumpyArray:
    """The numbers of an array; the stream stands behind its header."""
    data = bytearray(header.size)
    view = memoryview(data)
    at = 0
    while at < header.size:
        chunk = stream.read(min(_CHUNK, header.size - at))
        if not chunk:
            raise InputError(f"it ends after {at} of {header.size} bytes of numbers")
        view[at : at + len(chunk)] = chunk
        at += len(chunk)
    stream.read(1)  # at the end zipfile compares the checksum
    flat: NumpyArray = np.frombuffer(data, header.dtype) if data else np.empty(0, header.dtype)
    if header.dtype.kind == "b" and flat.view(np.uint8).max(initial=0) > 1:
        raise InputError("it holds bytes other than 0 and 1, which are no bool")
    return flat.reshape(header.shape[::-1]).transpose() if header.fortran else flat.reshape(header.shape)


def _check_memory(size: int) -> None:
    """Raise InputError for more bytes than the machine has, where that is known."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return
    if size > memory:
        raise InputError(f"its arrays take {size} bytes, and this machine has {memory}")


@contextmanager
def _plain_file(path: Path) -> Iterator[IO[bytes]]:
    """An open file. Raises InputError for what is no plain file: reading a pipe may never end."""
    with path.open("rb", buffering=0) if stat.S_ISREG(path.stat().st_mode) else _refused(path) as raw:
        yield io.BufferedReader(raw)


def _refused(path: Path) -> Any:
    raise InputError("it is a folder" if path.is_dir() else "it is not a plain file")


@contextmanager
def _named(what: Path | str) -> Iterator[None]:
    """Begin each message with the file or member that it is about, and raise InputError in place of other errors."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    except MemoryError:
        raise InputError(f"{what}: its arrays do not fit into memory") from None
    except OSError as error:
        raise InputError(f"{what}: it cannot be read ({error.strerror or error})") from None
    except _BROKEN as error:
        kind = what.suffix if isinstance(what, Path) else ".npy"
        raise InputError(f"{what}: it is not a readable {kind} of numbers: {error}") from None
