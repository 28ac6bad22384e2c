"""The data that a model is tuned on: calls of the model, and what a metric takes besides.

The law here: the first calls are a random part of all, and more of them hold the same ones and others.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from odelet.artifact.card import DTYPES
from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray
from odelet_export.model.axes import Dynamic

# Samples that the model is exported with, and at most so many that a calibrated form is found on.
EXAMPLE, CALIBRATION = 8, 256


@dataclass(frozen=True)
class Data:
    """Arrays for the model's inputs and for a metric, cut into calls.

    inputs, others: by name. dynamic: the axes that may change, by input and axis. label: the one that counts samples;
    None where none does, and all is one call. batch: samples in a call. order: of the samples, those left out not
    among them.
    """

    inputs: dict[str, NumpyArray]
    others: dict[str, NumpyArray]
    dynamic: Dynamic
    label: str | None
    batch: int
    order: NumpyArray

    @property
    def calls(self) -> int:
        """How many calls there are."""
        return max(len(self.order) // self.batch, 1) if self.label is not None else 1

    @property
    def samples(self) -> int:
        """How many samples are in all calls."""
        return self.calls * self.batch if self.label is not None else 1

    def call(self, number: int, count: int = 1) -> dict[str, NumpyArray]:
        """The inputs of a call, by name; or of some that follow one another, as one."""
        return self._inputs(self.order[number * self.batch : (number + count) * self.batch])

    def example(self, most: int = EXAMPLE) -> dict[str, NumpyArray]:
        """The inputs of the first samples in one call."""
        return self._inputs(self.order[:most])

    def arrays(self, calls: int) -> dict[str, NumpyArray]:
        """All arrays, for a metric: those with one entry for each sample cut to the samples of the first calls."""
        if self.label is None:
            return {**self.inputs, **self.others}
        places = self.order[: calls * self.batch]
        total = self._total()
        cut = {name: x[places] if x.ndim and len(x) == total else x for name, x in self.others.items()}
        return {**self._inputs(places), **cut}

    def _inputs(self, places: NumpyArray) -> dict[str, NumpyArray]:
        return {name: self._taken(name, array, places) for name, array in self.inputs.items()}

    def _taken(self, name: str, array: NumpyArray, places: NumpyArray) -> NumpyArray:
        axis = next((axis for axis, label in self.dynamic.get(name, {}).items() if label == self.label), None)
        return array if axis is None or self.label is None else np.ascontiguousarray(array.take(places, axis))

    def _total(self) -> int:
        return next(
            self.inputs[name].shape[axis]
            for name, axes in self.dynamic.items()
            for axis, label in axes.items()
            if label == self.label
        )

    @property
    def specs(self) -> tuple[str, ...]:
        """The inputs with axes that may change, as `odelet export --input` takes them beside an example."""
        return tuple(
            f"{name}=[{','.join(axes.get(axis, '_') for axis in range(self.inputs[name].ndim))}]"
            for name, axes in self.dynamic.items()
        )

    def digest(self) -> str:
        """A hash of all that is measured on."""
        state = hashlib.sha256(repr((sorted(map(repr, self.dynamic.items())), self.label, self.batch)).encode())
        state.update(np.ascontiguousarray(self.order).tobytes())
        for name, array in (*self.inputs.items(), *self.others.items()):
            state.update(f"{name} {array.dtype.str} {array.shape}".encode())
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


def parameters_of(model: Callable[..., Any]) -> tuple[list[str], bool]:
    """Names of the parameters of a model, and whether it takes any others."""
    function = model.forward if isinstance(model, nn.Module) else model
    parameters = inspect.signature(function).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [one.name for one in parameters if one.kind not in free]
    return names, any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)


def read_data(
    model: Callable[..., Any],
    arrays: Mapping[str, Any],
    dynamic: Dynamic | None,
    *,
    batch: int,
    samples: int | None,
    seed: int,
) -> Data:
    """Cut arrays into calls of the model.

    arrays: by name; those named like an argument of the model, or like a tensor in one (`batch.x`), are its inputs.
    dynamic: axes that may change; None for the first axis of all inputs of which it is as long as that of the first.
    samples: at most so many, chosen with the seed. Raises InputError for arrays that are no data of this model.
    """
    names, anything = parameters_of(model)
    given = {name: np.asarray(array) for name, array in arrays.items()}
    told = set(dynamic or {})
    inputs = {name: x for name, x in given.items() if name.split(".")[0] in names or (anything and name in told)}
    others = {name: x for name, x in given.items() if name not in inputs}
    if not inputs:
        raise InputError(
            f"data: none of its arrays ({', '.join(given) or 'there are none'}) is an input of the model, which takes "
            f"{', '.join(names)}"
        )
    _check(inputs)
    if dynamic is None:
        first = next((array.shape[0] for array in inputs.values() if array.ndim), None)
        dynamic = {name: {0: "batch"} for name, x in inputs.items() if x.ndim and x.shape[0] == first}
    unknown = next((name for name in dynamic if name not in inputs), None)
    if unknown is not None:
        raise InputError(f"data: it holds no {unknown!r}, only {', '.join(given)}")
    label = _label(inputs, dynamic)
    found = Data(inputs, others, dynamic, label, batch, np.zeros(0, np.int64))
    if label is None:
        return replace(found, batch=1)
    return replace(found, order=_order(found, samples, seed))


def _label(inputs: Mapping[str, NumpyArray], dynamic: Dynamic) -> str | None:
    """The name of the axis that counts samples: `batch`, or the first axis of the first array of two axes or more."""
    if any(label == "batch" for axes in dynamic.values() for label in axes.values()):
        return "batch"
    return next((axes[0] for name, axes in dynamic.items() if 0 in axes and inputs[name].ndim > 1), None)


def _order(data: Data, samples: int | None, seed: int) -> NumpyArray:
    """The samples in the order in which they are taken."""
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
    """The error of each sample of a call: the largest of any output, relative to the scale of that output.

    axes: of the outputs, where they have one, that counts samples; without, an output is that of all samples. What is
    no float errs by 1 where it differs. NaN and infinite outputs err infinitely.
    """
    errors: NumpyArray = np.zeros(1)
    for got, want, scale, axis in zip(outputs, expected, scales, axes, strict=True):
        if want.dtype.kind == "f":
            with np.errstate(all="ignore"):
                far = np.abs(np.asarray(got, np.float64) - want) / scale
            far = np.where(np.isnan(far), np.inf, far)
        else:
            far = (got != want).astype(np.float64)
        rest = tuple(i for i in range(far.ndim) if i != axis)
        errors = np.maximum(errors, far.max(axis=rest) if far.size else 0.0)
    return errors
