"""The arguments of an export, read from the command line: the place of the model, and the example call to trace.

The law here: the same text and seed give the same arrays. No torch is imported, so that a mistake is reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from odelet.artifact.card import DTYPES
from odelet.artifact.npy import read_npz
from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray
from odelet_export.commands.number_text import read_number

# The sizes of named axes whose text has no size: small, and all different.
_SIZES = (3, 5, 7, 11, 13, 17, 19, 23)
_INPUT = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.\w+)*)=(?P<dtype>[a-z]\w*)?\[(?P<axes>[^\]]*)\](?::(?P<values>.+))?")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")
_LINSPACE = re.compile(rf"linspace\(({_NUMBER}),({_NUMBER})\)")


@dataclass(frozen=True)
class Target:
    """The place of a model. place: a file or module, as the user wrote it. name: the model's name in that place. file:
    the file, or None for a module."""

    place: str
    name: str
    file: Path | None


def read_target(text: str) -> Target:
    """Read FILE.py:NAME or package.module:NAME. Raises InputError for other text, and for a file that is not there."""
    place, _, name = text.rpartition(":")
    if not place.strip() or not name.isidentifier():
        raise InputError(f"{text!r} is not the name of a model; write FILE.py:NAME or package.module:NAME")
    if all(part.isidentifier() for part in place.split(".")) and not place.endswith(".py"):
        return Target(place, name, None)
    file = Path(place)
    if file.suffix != ".py" or not file.is_file():
        wrong = "there is no such file" if not file.exists() else "it is not a Python file, whose name ends in .py"
        raise InputError(f"{place}: {wrong}")
    return Target(place, name, file)


@dataclass(frozen=True)
class Example:
    """An example call. arrays: the inputs by name. dynamic: the names of the axes that may change, by input name and
    axis; for a number its label. numbers: the inputs that are numbers for the model, by name."""

    arrays: dict[str, NumpyArray]
    dynamic: dict[str, dict[int, str] | str]
    numbers: dict[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Axis:
    """One axis of an input. name: None for an axis whose size is fixed. size: None where the text names no size."""

    name: str | None
    size: int | None


@dataclass(frozen=True)
class _Input:
    """One `--input`. text: the option as the user wrote it. values: the text after the colon. dtype and values are None
    where the text has none."""

    text: str
    name: str
    dtype: str | None
    axes: tuple[_Axis, ...]
    values: str | None


def read_example(inputs: Sequence[str], file: Path | None, *, seed: int) -> Example:
    """Make the example call.

    inputs: texts like "x=float32[batch,64]", or "n=int:10" for a number. file: an .npz of arrays by input name; the
    inputs then only name axes of these arrays or convert them to another dtype. Raises InputError for text or a file
    that cannot be read.
    """
    if not inputs and file is None:
        raise InputError(
            'the model needs inputs: describe each with --input, such as --input "x=float32[batch,64]", or give '
            "--example FILE.npz"
        )
    numbers = {text: number for text in inputs if (number := read_number(text)) is not None}
    read = _read_all([text for text in inputs if text not in numbers], *(one.name for one in numbers.values()))
    arrays = None if file is None else _example_arrays(file)
    if arrays is None:
        example = _draw_all(read, seed)
    else:
        assert file is not None
        example = {**arrays, **{one.name: _adapted(one, arrays, file) for one in read}}
    for one in numbers.values():
        example.pop(one.name, None)
    dynamic: dict[str, dict[int, str] | str] = {**_dynamic(read), **{one.name: one.label for one in numbers.values()}}
    return Example(example, dynamic, {one.name: one.number(arrays) for one in numbers.values()})


def read_arrays(
    inputs: Sequence[str], file: Path
) -> tuple[dict[str, NumpyArray], dict[str, dict[int, str] | str] | None]:
    """The arrays of a file, and the axes and numbers that may change, None without inputs.

    inputs: texts like "x=float32[batch,_]", where a dtype converts the array of that name, or "n=int" for a number.
    Raises InputError for text or a file that cannot be read.
    """
    arrays = read_npz(file)
    numbers = {text: number for text in inputs if (number := read_number(text)) is not None}
    read = _read_all([text for text in inputs if text not in numbers], *(one.name for one in numbers.values()))
    adapted = {**arrays, **{one.name: _adapted(one, arrays, file) for one in read}}
    adapted |= {one.name: np.asarray(one.number(arrays)) for one in numbers.values()}
    dynamic: dict[str, dict[int, str] | str] = {
        **_dynamic(read),
        **{one.name: one.label for one in numbers.values()},
    }
    return adapted, dynamic if inputs else None


def _read_all(inputs: Sequence[str], *others: str) -> list[_Input]:
    """The inputs of the texts. others: the names of further inputs."""
    read = [_read(text) for text in inputs]
    names = [*(one.name for one in read), *others]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"--input names {twice[0]!r} twice; give each input once")
    return read


def _dynamic(read: Sequence[_Input]) -> dict[str, dict[int, str]]:
    dynamic = {one.name: {i: axis.name for i, axis in enumerate(one.axes) if axis.name} for one in read}
    return {name: axes for name, axes in dynamic.items() if axes}


def _read(text: str) -> _Input:
    match = _INPUT.fullmatch("".join(text.split()))
    if match is None:
        raise InputError(
            f'--input {text!r} is not of the form NAME=DTYPE[AXES], such as "x=float32[batch,64]"; '
            'a scalar has no axes: []; a number of Python is "n=int:10" or "scale=float:1.5"'
        )
    dtype = match["dtype"]
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"--input {text!r}: {dtype!r} is not one of {', '.join(DTYPES)}")
    axes = tuple(_axis(text, axis) for axis in match["axes"].split(",")) if match["axes"] else ()
    return _Input(text, match["name"], dtype, axes, match["values"])


def _axis(text: str, axis: str) -> _Axis:
    name, _, size = axis.partition("=")
    if axis.isdecimal():
        name, size = "_", axis
    if not name.isidentifier() or ("=" in axis and not size.isdecimal()) or (size and int(size) == 0):
        raise InputError(
            f"--input {text!r}: {axis!r} is not an axis; an axis is a size, a name for one that may change, "
            "or both: 64, batch, batch=8"
        )
    return _Axis(None if name == "_" else name, int(size) if size else None)


def _draw_all(inputs: Sequence[_Input], seed: int) -> dict[str, NumpyArray]:
    """Draw an array for each input. An axis name has one size in all inputs."""
    sizes: dict[str, int] = {}
    for one in inputs:
        for axis in one.axes:
            if axis.name is None and axis.size is None:
                raise InputError(f"--input {one.text!r}: '_' keeps a size of --example; give a size or a name")
            if axis.name is not None and axis.size is not None:
                size = sizes.setdefault(axis.name, axis.size)
                if size != axis.size:
                    raise InputError(f"--input {one.text!r}: {axis.name!r} is {axis.size} here and {size} elsewhere")
    free = (size for size in (*_SIZES, *range(24, 1000)) if size not in sizes.values())
    for axis in (axis for one in inputs for axis in one.axes):
        if axis.name is not None and axis.name not in sizes:
            sizes[axis.name] = next(free)
    generator = np.random.default_rng(seed)
    drawn = {}
    for one in inputs:
        axes = tuple(replace(axis, size=sizes[axis.name]) if axis.name is not None else axis for axis in one.axes)
        drawn[one.name] = _draw(replace(one, axes=axes), generator)
    return drawn


def _draw(one: _Input, generator: np.random.Generator) -> NumpyArray:
    """Draw the array of an input, all of whose axes have sizes."""
    if one.dtype is None:
        raise InputError(f'--input {one.text!r} names no dtype; write one, such as "{one.name}=float32[...]"')
    dtype = np.dtype(one.dtype)
    shape = tuple(axis.size for axis in one.axes if axis.size is not None)
    if one.values is None:
        if dtype.kind == "f":
            return generator.standard_normal(shape).astype(dtype)
        if dtype.kind == "b":
            return generator.random(shape) < 0.5
        raise InputError(f'--input {one.text!r}: whole numbers need a range, such as "{one.text}:0..9"')
    if match := _LINSPACE.fullmatch(one.values):
        first, last = float(match[1]), float(match[2])
        if dtype.kind != "f" or len(shape) != 1 or first == last:
            raise InputError(f"--input {one.text!r}: linspace fills one axis of floats, between two different ends")
        return np.linspace(first, last, shape[0], dtype=dtype)
    if match := _RANGE.fullmatch(one.values):
        return _draw_range(one, match[1], match[2], shape, generator)
    if re.fullmatch(_NUMBER, one.values):
        value = float(one.values)
        return np.full(shape, _whole(one, value) if dtype.kind in "iu" else value, dtype)
    raise InputError(
        f"--input {one.text!r}: {one.values!r} is not LOW..HIGH, linspace(FIRST,LAST), or one number for all elements"
    )


def _draw_range(one: _Input, low: str, high: str, shape: tuple[int, ...], generator: np.random.Generator) -> NumpyArray:
    ends = float(low), float(high)
    dtype = np.dtype(one.dtype)
    if ends[0] > ends[1]:
        raise InputError(f"--input {one.text!r}: the range ends before it begins")
    if dtype.kind == "f":
        return generator.uniform(*ends, shape).astype(dtype)
    if dtype.kind == "b":
        raise InputError(f"--input {one.text!r}: a bool has no range; leave it out, or give 0 or 1")
    return generator.integers(_whole(one, ends[0]), _whole(one, ends[1]), shape, dtype, endpoint=True)


def _whole(one: _Input, value: float) -> int:
    """A number of the text as an int. Raises InputError where the input's dtype does not have it."""
    limits = np.iinfo(np.dtype(one.dtype))
    if not value.is_integer() or not limits.min <= value <= limits.max:
        raise InputError(f"--input {one.text!r}: {value:g} is not an {one.dtype}")
    return int(value)


def _example_arrays(file: Path) -> dict[str, NumpyArray]:
    arrays = read_npz(file)
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise InputError(f"{file}: {name!r} is {array.dtype}, which is not one of {', '.join(DTYPES)}")
    if not arrays:
        raise InputError(f"{file}: it holds no arrays; save one for each input, by its name")
    return arrays


def _adapted(one: _Input, arrays: dict[str, NumpyArray], file: Path) -> NumpyArray:
    """An array of the example file in the dtype that an `--input` asks for. Raises InputError where they do not fit."""
    if one.name not in arrays:
        raise InputError(f"--input {one.text!r}: {file} holds no {one.name!r}, only {', '.join(arrays)}")
    array = arrays[one.name]
    if one.values is not None:
        raise InputError(f"--input {one.text!r}: {file} gives the values; leave {':' + one.values!r} out")
    fits = len(one.axes) == array.ndim and all(
        axis.size in (None, size) for axis, size in zip(one.axes, array.shape, strict=True)
    )
    if not fits:
        raise InputError(f"--input {one.text!r} does not fit {file}, where {one.name!r} is {list(array.shape)}")
    return array.astype(one.dtype or array.dtype)
