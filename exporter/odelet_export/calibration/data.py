"""The data that steps are found on: checked by name before anything is traced, and cut into samples.

The law here: a sample is a batch row where the model has a batch axis, else a whole call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray
from odelet_export.model.axes import Dynamic
from odelet_export.model.callee import Callee
from odelet_export.proof.trust import HELD_BACK

Inputs = dict[str, NumpyArray]


def calls_of(inputs: Mapping[str, Any], callee: Callee, dynamic: Dynamic) -> list[Inputs]:
    """The calibration data as calls of the model.

    inputs: as in `Calibration.inputs`. Raises InputError naming the input, what came and what is expected.
    """
    names = callee.names
    for problem, wrong in (
        ("names input", [name for name in inputs if name not in names]),
        ("lacks input", [name for name in names if name not in inputs]),
    ):
        if wrong:
            raise InputError(f"calibration {problem} {wrong[0]!r}; the model's inputs are {', '.join(names)}")
    examples = dict(zip(names, callee.example, strict=True))
    arrays = {name: _checked(name, inputs[name], example, dynamic.get(name, {})) for name, example in examples.items()}
    stacked = {name: len(array) for name, array in arrays.items() if array.ndim > examples[name].ndim}
    if len(set(stacked.values())) > 1:
        counts = ", ".join(f"{count} of {name}" for name, count in stacked.items())
        raise InputError(f"calibration has not the same number of samples for each input: {counts}")
    count = next(iter(stacked.values()), 1)
    calls = [
        {
            # ascontiguousarray makes a scalar an array of one axis; the reshape takes that axis away again.
            name: np.ascontiguousarray(array[i] if name in stacked else array).reshape(
                array.shape[1:] if name in stacked else array.shape
            )
            for name, array in arrays.items()
        }
        for i in range(count)
    ]
    for call in calls[:1]:
        _check_axes(call, dynamic)
    return calls


def _checked(name: str, value: Any, example: torch.Tensor, axes: Mapping[int, str]) -> NumpyArray:
    """The data of an input as an array. axes: the axes that may change. Raises InputError for data that do not fit."""
    dtype = np.dtype(str(example.dtype).removeprefix("torch."))
    try:
        array = np.asarray(value)
    except Exception as error:
        raise InputError(f"calibration {name!r} cannot be made an array: {error}") from None
    if isinstance(value, (list, tuple, int, float)) and array.dtype.kind in "biuf":
        array = array.astype(dtype)
    if array.dtype != dtype:
        raise InputError(
            f"calibration {name!r} has dtype {array.dtype}; expected {dtype}: convert it with .astype({dtype.name!r})"
        )
    shape = array.shape[array.ndim - example.ndim :] if array.ndim in (example.ndim, example.ndim + 1) else None
    fits = shape is not None and all(
        axis in axes or size == example_size
        for axis, (size, example_size) in enumerate(zip(shape, example.shape, strict=True))
    )
    if not fits:
        expected_shape = ", ".join(axes.get(axis, str(size)) for axis, size in enumerate(example.shape))
        many = "[calls" + (", " if expected_shape else "") + f"{expected_shape}]"
        raise InputError(
            f"calibration {name!r} has shape {list(array.shape)}; expected [{expected_shape}], or {many} for many calls"
        )
    if array.size == 0 and example.numel() > 0:
        raise InputError(f"calibration {name!r} is empty: its shape is {list(array.shape)}; give at least one sample")
    if dtype.kind == "f" and not np.isfinite(array).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise InputError(
            f"calibration {name!r} holds {array[tuple(where)]} at {where}; leave out the samples that are not finite"
        )
    return array


def _size(array: NumpyArray, axis: int) -> int:
    """The size of an axis; of a whole number, its value."""
    return int(array.shape[axis] if array.ndim else array)


def _check_axes(call: Inputs, dynamic: Dynamic) -> None:
    """Raise InputError where an axis name has two sizes in a call."""
    sizes: dict[str, tuple[int, str]] = {}
    for name, axes in dynamic.items():
        for axis, label in axes.items():
            size, first = sizes.setdefault(label, (_size(call[name], axis), name))
            if size != _size(call[name], axis):
                raise InputError(
                    f"calibration {name!r} has {_size(call[name], axis)} along its axis {label!r}, and {first!r} has "
                    f"{size}; give as many"
                )


@dataclass(frozen=True)
class CalibrationSamples:
    """Calls of the model, cut into samples. axes: the axis that counts samples, by input name; where no input has such
    an axis, each call is one sample."""

    calls: Sequence[Inputs]
    axes: Mapping[str, int]

    @property
    def sizes(self) -> list[int]:
        """The number of samples in each call."""
        return [next((_size(call[name], axis) for name, axis in self.axes.items()), 1) for call in self.calls]

    def __len__(self) -> int:
        return sum(self.sizes)

    def take(self, chosen: Iterable[int]) -> CalibrationSamples:
        """The samples with these numbers, in rising order."""
        numbers, calls, first = np.unique(np.fromiter(chosen, int)), [], 0
        for call, size in zip(self.calls, self.sizes, strict=True):
            rows = numbers[(numbers >= first) & (numbers < first + size)] - first
            first += size
            if len(rows) == size:
                calls.append(call)
            elif len(rows):
                calls.append({name: self._rows(name, array, rows) for name, array in call.items()})
        return CalibrationSamples(calls, self.axes)

    def _rows(self, name: str, array: NumpyArray, rows: NumpyArray) -> NumpyArray:
        return np.take(array, rows, axis=self.axes[name]) if name in self.axes else array

    def split(self) -> tuple[CalibrationSamples, CalibrationSamples]:
        """The samples on which steps are found, and the samples that are held back, one in HELD_BACK."""
        numbers = range(len(self))
        held_back = [i for i in numbers if i % HELD_BACK == HELD_BACK - 1]
        return self.take(i for i in numbers if i % HELD_BACK != HELD_BACK - 1), self.take(held_back)

    def scaled(self, factor: float, names: Iterable[str]) -> CalibrationSamples:
        """The samples with some inputs multiplied by a factor."""
        names = set(names)
        return CalibrationSamples(
            [
                {name: (array * factor).astype(array.dtype) if name in names else array for name, array in call.items()}
                for call in self.calls
            ],
            self.axes,
        )
