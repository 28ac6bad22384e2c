"""Reads and writes arrays as .npz, .npy and .csv files, for the command line.

The law here: nothing is unpickled, and an output file is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.npy import Header, read_npy, read_npz
from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray

_KINDS = (".npz", ".npy", ".csv")
_LONGEST_LINE = 2**24


def read_inputs(path: Path, card: Card) -> dict[str, NumpyArray]:
    """Return the arrays of a file by the names of a model's inputs.

    An .npz serves any model; an .npy or .csv serves a model with one input that is not random. A .csv is a table of
    numbers without header, for an input of two axes. Raises InputError naming the file.
    """
    kind = _kind(path)
    tensors = {tensor.name: tensor for tensor in card.inputs}

    def judge(header: Header) -> None:
        if header.name not in tensors:
            raise InputError(f"there is no input {header.name!r}; the inputs are {', '.join(tensors) or 'none'}")
        _judge(header, tensors[header.name])

    if kind == ".npz":
        return read_npz(path, judge=judge)
    inputs = card.inputs[: len(card.inputs) - len(card.noise)]
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise InputError(f"{path}: the model has {len(inputs)} inputs ({names}); give an .npz that holds them")
    tensor = inputs[0]
    if kind == ".npy":
        return {tensor.name: read_npy(path, judge=lambda header: _judge(header, tensor))}
    return {tensor.name: _read_csv(path, tensor)}


def check_output(path: Path, card: Card) -> None:
    """Raise InputError unless the model's outputs can be written to such a file; to be called before the model runs."""
    kind = _kind(path)
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent} to write to")
    if path.is_dir():
        raise InputError(f"{path}: it is a folder; give the name of a file")
    if kind == ".npz":
        return
    if len(card.outputs) != 1:
        names = ", ".join(tensor.name for tensor in card.outputs)
        raise InputError(f"{path}: the model has {len(card.outputs)} outputs ({names}); they need an .npz")
    if kind == ".csv" and len(card.outputs[0].shape) != 2:
        raise InputError(f"{path}: the output is {card.outputs[0]}; a .csv holds two axes, use .npy or .npz")


def write_outputs(path: Path, outputs: dict[str, NumpyArray]) -> None:
    """Write outputs in the format that the file's ending names, in place of the file that is there.

    Raises InputError naming the file.
    """
    kind = _kind(path)
    first = next(iter(outputs.values()))

    def write(file: IO[bytes]) -> None:
        if kind == ".npz":
            # Not np.savez: its own argument names could be names of outputs.
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in outputs.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
        elif kind == ".npy":
            np.lib.format.write_array(file, first, allow_pickle=False)
        else:
            # Reading so many digits gives the same number again.
            digits = {"float16": "%.5g", "float32": "%.9g", "float64": "%.17g"}
            np.savetxt(file, first, delimiter=",", fmt=digits.get(str(first.dtype), "%d"))

    replace_file(path, write)


def _judge(header: Header, tensor: Tensor) -> None:
    """Raise InputError unless an array has the dtype and the shape that the card says."""
    if header.dtype != tensor.dtype:
        raise InputError(
            f"input {tensor.name!r} has dtype {header.dtype}; expected {tensor.dtype}: convert it with "
            f".astype({tensor.dtype!r})"
        )
    if not tensor.takes(header.dtype, header.shape):
        expected = ", ".join(map(str, tensor.shape))
        raise InputError(f"input {tensor.name!r} has shape {header.shape}; expected [{expected}]")


def _read_csv(path: Path, tensor: Tensor) -> NumpyArray:
    if len(tensor.shape) != 2:
        raise InputError(f"{path}: input {tensor.name!r} is {tensor}; a .csv holds two axes, use .npy or .npz")
    # numpy reads "1" and "0" as numbers, and not as bool.
    dtype = "int8" if tensor.dtype == "bool" else tensor.dtype
    try:
        if path.exists() and not path.is_file():  # reading a pipe may never end
            raise InputError(f"{path}: it is not a plain file")
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline(_LONGEST_LINE)
            columns, expected = first.count(",") + 1, tensor.shape[1]
            if not first.strip() or len(first) == _LONGEST_LINE:
                raise InputError(f"{path}: its first line is {'too long' if first.strip() else 'empty'}")
            if isinstance(expected, int) and columns != expected:
                raise InputError(f"{path}: its first line has {columns} columns; input {tensor.name!r} is {tensor}")
            file.seek(0)
            table = np.loadtxt(file, dtype=dtype, delimiter=",", ndmin=2, comments=None)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: its numbers do not fit into memory") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: it is not a table of {tensor.dtype} without header: {error}") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if tensor.dtype == "bool" and not np.isin(table, (0, 1)).all():
        raise InputError(f"{path}: it holds numbers other than 0 and 1, for a bool input")
    return table.astype(tensor.dtype)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: it cannot be read ({error.strerror or error})")


def _kind(path: Path) -> str:
    if path.suffix not in _KINDS:
        raise InputError(f"{path}: its ending must be one of {', '.join(_KINDS)}")
    return path.suffix


def _followed(path: Path) -> Path:
    """The file that a path leads to. Raises OSError for links in a circle, and InputError for what is no file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: it cannot be written (it exists and is not a plain file)")
    return Path(os.path.realpath(path)) if path.is_symlink() else path.absolute()


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a temporary file beside the path, then rename it to the path, so that no reader sees half a file.

    A path that is a link stays one, and the file that it leads to is replaced. write: writes the contents to an open
    binary file. Raises InputError naming the path when it cannot be written.
    """
    temporary = None
    try:
        place = _followed(path)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{path.name[:32]}.", delete=False) as file:
            temporary = Path(file.name)
            write(file.file)
        # A temporary file is private to its owner, and the result gets the rights that a new file has.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(place)
        temporary = None
    except OSError as error:
        raise InputError(f"{path}: it cannot be written ({error.strerror or error})") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
