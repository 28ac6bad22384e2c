"""The data of a user: calls of the model, and the other arrays that a metric takes.

The law here: the first calls are a random part of all calls, and any larger number of calls holds these and others.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from odelet.artifact.card import DTYPES
from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray
from odelet_export.model.axes import Dynamic
from odelet_export.model.number_inputs import GivenDynamic

# The model is exported with EXAMPLE samples; a calibrated form gets at most CALIBRATION samples.
EXAMPLE, CALIBRATION = 8, 256


@dataclass(frozen=True)
class Data:
    """Arrays for the model's inputs and for a metric, cut into calls.

    inputs, others: arrays by name, for the model and for the metric alone. dynamic: the axes that may change, by input
    and axis. label: the name of the axis that counts samples; None where no axis does, and the data are one call.
    batch: the number of samples in a call. order: (samples,), the numbers of the samples that are used, in their order.
    numbers: labels of the inputs that are Python numbers for the model, by input; they are the same in all calls.
    """

    inputs: dict[str, NumpyArray]
    others: dict[str, NumpyArray]
    dynamic: Dynamic
    label: str | None
    batch: int
    order: NumpyArray
    numbers: Mapping[str, str] = field(default_factory=dict)

    @property
    def declared(self) -> dict[str, Mapping[int, str] | str]:
        """The axes and the numbers that may change, as `export` takes them."""
        return {**self.dynamic, **self.numbers}

    def arguments(self, arrays: Mapping[str, NumpyArray]) -> dict[str, Any]:
        """The arrays of a call as the model takes them: with Python numbers for those that are numbers."""
        return {name: array.item() if name in self.numbers else array for name, array in arrays.items()}

    @property
    def calls(self) -> int:
        """The number of calls."""
        return max(len(self.order) // self.batch, 1) if self.label is not None else 1

    @property
    def samples(self) -> int:
        """The number of samples in all calls."""
        return self.calls * self.batch if self.label is not None else 1

    def call(self, number: int, count: int = 1) -> dict[str, NumpyArray]:
        """The inputs of a call, by name. count: the number of consecutive calls to take as one batch."""
        return self._inputs(self.order[number * self.batch : (number + count) * self.batch])

    def example(self, most: int = EXAMPLE) -> dict[str, NumpyArray]:
        """The inputs of the first samples, at most `most`, as one call."""
        return self._inputs(self.order[:most])

    def stacked(self, most: int) -> dict[str, NumpyArray]:
        """The inputs of the first calls, stacked along an axis of their own: as many as have at most `most` samples."""
        calls = [self.call(number) for number in range(max(min(self.calls, most // self.batch), 1))]
        return {name: np.stack([call[name] for call in calls]) for name in self.inputs}

    def arrays(self, calls: int) -> dict[str, NumpyArray]:
        """All arrays, for a metric. An array with an entry for each sample is cut to the samples of the first calls."""
        if self.label is None:
            return {**self.inputs, **self.others}
        places = self.order[: calls * self.batch]
        total = self._total()
        others = {name: x[places] if x.ndim and len(x) == total else x for name, x in self.others.items()}
        return {**self._inputs(places), **others}

    def _inputs(self, places: NumpyArray) -> dict[str, NumpyArray]:
        return {name: self._taken(name, array, places) for name, array in self.inputs.items()}

    def _taken(self, name: str, array: NumpyArray, places: NumpyArray) -> NumpyArray:
        axis = next((axis for axis, label in self.dynamic.get(name, {}).items() if label == self.label), None)
        return array if axis is None or self.label is None else np.ascontiguousarray(array.take(places, axis))

    def _total(self) -> int:
        """The number of all samples in the arrays, also of those that are not used."""
        return next(
            int(self.inputs[name].shape[axis])
            for name, axes in self.dynamic.items()
            for axis, label in axes.items()
            if label == self.label
        )

    @property
    def specs(self) -> tuple[str, ...]:
        """The inputs with axes that may change, in the notation of `odelet export --input` beside an example."""
        axes = (
            f"{name}=[{','.join(axes.get(axis, '_') for axis in range(self.inputs[name].ndim))}]"
            for name, axes in self.dynamic.items()
        )
        kinds = {name: "int" if self.inputs[name].dtype.kind == "i" else "float" for name in self.numbers}
        return (*axes, *(f"{name}={kind}" for name, kind in kinds.items()))

    def digest(self) -> str:
        """A hash of all arrays and of how they are cut into calls."""
        state = hashlib.sha256(repr((sorted(map(repr, self.declared.items())), self.label, self.batch)).encode())
        state.update(np.ascontiguousarray(self.order).tobytes())
        for name, array in (*self.inputs.items(), *self.others.items()):
            state.update(f"{name} {array.dtype.str} {array.shape}".encode())
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


def parameters_of(model: Callable[..., Any]) -> tuple[list[str], bool]:
    """The names of a model's parameters, and whether the model takes arguments of any other name too."""
    function = model.forward if isinstance(model, nn.Module) else model
    parameters = inspect.signature(function).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [one.name for one in parameters if one.kind not in free]
    return names, any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)


def read_data(
    model: Callable[..., Any],
    arrays: Mapping[str, Any],
    dynamic: GivenDynamic | None,
    *,
    batch: int,
    samples: int | None,
    seed: int,
) -> Data:
    """Cut arrays into calls of the model.

    arrays: by name; an array named like an argument of the model, or like a tensor in an argument (`batch.x`), is an
    input. dynamic: the axes that may change, and a label for each input that is a number for the model; without any
    axes (None, or numbers alone), the first axis of each input that is as long as the first input.
    samples: the largest number that is used, chosen with the seed. Raises InputError for arrays that the model cannot
    take.
    """
    names, takes_any = parameters_of(model)
    all_arrays = {name: np.asarray(array) for name, array in arrays.items()}
    named = set(dynamic or {})
    inputs = {name: x for name, x in all_arrays.items() if name.split(".")[0] in names or (takes_any and name in named)}
    others = {name: x for name, x in all_arrays.items() if name not in inputs}
    if not inputs:
        raise InputError(
            f"data: none of its arrays ({', '.join(all_arrays) or 'there are none'}) is an input of the model, which "
            f"takes {', '.join(names)}"
        )
    _check(inputs)
    numbers = {name: label for name, label in (dynamic or {}).items() if isinstance(label, str)}
    axes: Dynamic = {name: labels for name, labels in (dynamic or {}).items() if not isinstance(labels, str)}
    for name in numbers:
        if name in inputs:
            inputs[name] = _number(name, inputs[name])
    if dynamic is None or (numbers and not axes):
        first = next((array.shape[0] for array in inputs.values() if array.ndim), None)
        axes = {name: {0: "batch"} for name, x in inputs.items() if x.ndim and x.shape[0] == first}
    unknown = next((name for name in (*axes, *numbers) if name not in inputs), None)
    if unknown is not None:
        raise InputError(f"data: it holds no {unknown!r}, only {', '.join(all_arrays)}")
    label = _label(inputs, axes)
    whole = Data(inputs, others, axes, label, batch, np.zeros(0, np.int64), numbers)
    if label is None:
        return replace(whole, batch=1)
    return replace(whole, order=_order(whole, samples, seed))


def _number(name: str, array: NumpyArray) -> NumpyArray:
    """The array of shape () that holds a number. Raises InputError for an array that is none."""
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise InputError(f"data: {name!r} is to be a number, and is {array.dtype} of shape {list(array.shape)}")
    return array.reshape(()).astype(np.float64 if array.dtype.kind == "f" else np.int64)


def _label(inputs: Mapping[str, NumpyArray], dynamic: Dynamic) -> str | None:
    """The name of the axis that counts samples: `batch`, or the first axis of the first array of two axes or more."""
    if any(label == "batch" for axes in dynamic.values() for label in axes.values()):
        return "batch"
    return next((axes[0] for name, axes in dynamic.items() if 0 in axes and inputs[name].ndim > 1), None)


def _order(data: Data, samples: int | None, seed: int) -> NumpyArray:
    """The numbers of the samples that are used, in random order. Raises InputError for sizes that do not fit."""
    if data.batch < 1:
        raise InputError(f"--batch {data.batch} must be at least 1")
    if samples is not None and samples < data.batch:
        raise InputError(f"--samples {samples} must be at least one call of {data.batch}")
    sizes = {
        name: data.inputs[name].shape[axis]
        for name, axes in data.dynamic.items()
        for axis, label in axes.items()
        if label == data.label
    }
    first, *rest = sizes.items()
    other = next((one for one in rest if one[1] != first[1]), None)
    if other is not None:
        raise InputError(f"data: {first[0]!r} has {first[1]} samples and {other[0]!r} has {other[1]}")
    if first[1] < data.batch:
        raise InputError(f"data: it has {first[1]} samples, fewer than one call of {data.batch}; give --batch")
    order = np.random.default_rng(seed).permutation(first[1])
    return np.asarray(order[:samples])


def _check(inputs: Mapping[str, NumpyArray]) -> None:
    """Raise InputError for an input that is empty, not finite, or of a dtype that no artifact takes."""
    for name, array in inputs.items():
        if array.dtype.name not in DTYPES:
            raise InputError(f"data: {name!r} is {array.dtype}, which is not one of {', '.join(DTYPES)}")
        if array.size == 0:
            raise InputError(f"data: {name!r} is empty, of shape {list(array.shape)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise InputError(f"data: {name!r} holds {bad} numbers that are NaN or infinite; leave these samples out")


def scaled_error(
    outputs: Sequence[NumpyArray], expected: Sequence[NumpyArray], scales: Sequence[float], axes: Sequence[int | None]
) -> NumpyArray:
    """The errors (samples,) of a call: for each sample the largest error of any output, relative to the output's scale.

    outputs, expected: an array for each output. axes: for each output the axis that counts samples; None for an output
    of all samples together. An element that is no float has the error 1 where it differs; an element that is NaN or
    infinite has an infinite error.
    """
    errors: NumpyArray = np.zeros(1)
    for got, want, scale, axis in zip(outputs, expected, scales, axes, strict=True):
        if want.dtype.kind == "f":
            with np.errstate(all="ignore"):
                error = np.abs(np.asarray(got, np.float64) - want) / scale
            error = np.where(np.isnan(error), np.inf, error)
        else:
            error = (got != want).astype(np.float64)
        rest = tuple(i for i in range(error.ndim) if i != axis)
        errors = np.maximum(errors, error.max(axis=rest) if error.size else 0.0)
    return errors
