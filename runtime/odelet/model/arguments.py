"""Turns the arguments of a call into the arrays that the graphs take.

The law here: an ndarray is taken as it is or refused, never cast; only lists and numbers are converted, and
only where every value fits. This happens in every call, and takes a few microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.formulas import Formula
from odelet.errors import AssumptionError, InputError
from odelet.loops.brownian import DrawnNormals
from odelet.model.fixed_arguments import FixedArguments
from odelet.model.noise import Noise
from odelet.numerics.backend import NumpyArray
from odelet.random_numbers import fresh_seed

# What a caller may give for an input: an array, a number, or a container of them; it is checked when it is taken apart.
Argument: TypeAlias = Any

# Values of a kind of dtype go into a kind with the same rank or a higher one.
_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}


@dataclass(frozen=True)
class _InputSpec:
    """A declared input, as the check of an array needs it. sizes: size by fixed axis. axes: name by dynamic axis."""

    tensor: Tensor
    dtype: np.dtype[Any]
    rank: int
    sizes: tuple[tuple[int, int], ...]
    axes: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, tensor: Tensor) -> _InputSpec:
        return cls(
            tensor,
            np.dtype(tensor.dtype),
            len(tensor.shape),
            tuple((axis, size) for axis, size in enumerate(tensor.shape) if isinstance(size, int)),
            tuple((axis, name) for axis, name in enumerate(tensor.shape) if isinstance(name, str)),
        )


class Arguments:
    """The declared inputs of a model, against which the arguments of each call are checked."""

    def __init__(self, card: Card) -> None:
        self._noise = Noise(card)
        self._specs = {tensor.name: _InputSpec.of(tensor) for tensor in card.inputs}
        self._names = tuple(self._specs)
        self._fixed = FixedArguments(card)
        self._conditions = [(Formula(one.sizes), one) for one in card.assumptions if one.sizes]

    @property
    def noise(self) -> tuple[str, ...]:
        """The names of the random inputs, which are drawn when a call does not give them."""
        return self._noise.names

    def bind(
        self,
        args: tuple[Argument, ...],
        named: Mapping[str, Argument],
        *,
        seed: int | None = None,
        first_sample: int = 0,
    ) -> dict[str, NumpyArray]:
        """Return an array for each input, of the input's dtype and shape, C-contiguous; missing noise is drawn.

        seed: of the noise that is drawn; None draws other numbers in each call. first_sample: the number of the first
        sample. Raises InputError naming the input,
        what came and what is expected, and AssumptionError for sizes that the model's code does not take.
        """
        try:
            arguments = self._match(args, named)
        except RecursionError:
            raise InputError("an argument holds itself, or nests deeper than Python's stack") from None
        axes: dict[str, tuple[int, str]] = {}
        self._noise.check_seed(seed)
        noise = self._noise.names
        values = {name: _array(spec, arguments[name], axes) for name, spec in self._specs.items() if name not in noise}
        if not (noise or self._conditions):
            return values
        sizes = {axis: size for axis, (size, _) in axes.items()}
        for condition, assumption in self._conditions:
            if not condition.value(sizes):
                raise AssumptionError(assumption.refusal, assumption)
        seed = fresh_seed() if seed is None else int(seed)
        for name in noise:
            if name not in arguments:
                values[name] = self._noise.draw(name, sizes, seed, first_sample=first_sample)
                continue
            given = arguments[name]
            # A solution holds the noise of a driven solve as an object that draws it.
            given = np.asarray(given) if isinstance(given, DrawnNormals) else given
            values[name] = _array(self._specs[name], given, axes)
            shape = self._noise.shape(name, sizes)
            if shape is not None and values[name].shape != shape:
                raise InputError(f"the noise {name!r} has shape {values[name].shape}; expected {shape}")
        return values

    def _match(self, args: tuple[Argument, ...], named: Mapping[str, Argument]) -> dict[str, Argument]:
        """Return the arguments by the names of their inputs; noise may be missing."""
        names = self._names
        arguments: dict[str, Argument] = {}
        due = list(self._fixed.due(0))
        for value in args:
            if self._fixed and self._is_fixed(value, due):
                continue
            if len(arguments) == len(names):
                raise InputError(f"{len(args)} positional arguments came; {self._input_names()}")
            arguments |= self._positional(names[len(arguments)], value)
            due = list(self._fixed.due(len(arguments))) if self._fixed else due
        for name, value in self.spread(named).items():
            if name in arguments:
                raise InputError(f"input {name!r} came twice, by position and by name")
            arguments[name] = value
        if len(arguments) == len(names):
            return arguments
        missing = [repr(name) for name in names if name not in arguments and name not in self._noise.names]
        if missing:
            raise InputError(f"missing input {', '.join(missing)}; {self._input_names()}")
        return arguments

    def _is_fixed(self, value: Argument, due: list[str]) -> bool:
        """Return whether a positional value is that of a fixed argument. due: the names of those that come next, of
        which it takes one away."""
        for place, name in enumerate(due):
            if self._fixed.takes(name, value):
                del due[: place + 1]
                return True
        return False

    def spread(self, named: Mapping[str, Argument]) -> dict[str, Argument]:
        """Return arguments by the names of their inputs: a dict, tuple or the like is taken apart, so that
        `batch={"x": x}` becomes `batch.x`.

        Raises InputError for a name that is no input's, and for an item of a container that is no input.
        """
        if self._specs.keys() >= named.keys():
            return dict(named)
        named = self._fixed.without(named)
        spread: dict[str, Argument] = {}
        for name, value in named.items():
            for input_name, item in self._leaves(name, value):
                if input_name in spread:
                    container = input_name.split(".")[0]
                    raise InputError(f"input {input_name!r} came twice, in {container!r} and by its own name")
                spread[input_name] = item
        return spread

    def _positional(self, name: str, value: Argument) -> dict[str, Argument]:
        """Return a positional argument by input. It is one array for the input of that name, or a container that holds
        that input and those after it."""
        if "." in name and (isinstance(value, Mapping) or _holds_arrays(value)):
            return dict(self._leaves(name.split(".")[0], value))
        return {name: value}

    def _leaves(self, name: str, value: Argument) -> Iterator[tuple[str, Argument]]:
        """Yield the name and the value of each input that an argument holds."""
        if name in self._specs:
            yield name, value
            return
        if name in self._fixed:
            self._fixed.check(name, value)
            return
        inside = [input_name for input_name in self._names if input_name.startswith(f"{name}.")]
        if not inside and not (self._fixed and self._fixed.takes(name, value)):
            fixed = "; what was no tensor when the model was exported keeps its value" if "." in name else ""
            raise InputError(f"there is no input {name!r}{fixed}; {self._input_names()}")
        if not inside:
            return
        items = container_items(value)
        if items is None:
            raise InputError(
                f"{name!r} is a {type(value).__name__}; expected a dict, tuple, list or dataclass with "
                f"{', '.join(inside)}"
            )
        for key, item in items:
            yield from self._leaves(f"{name}.{key}", item)

    def _input_names(self) -> str:
        """The end of a message, which names the model's inputs."""
        return f"the inputs are {', '.join(self._names)}" if self._names else "the model takes no inputs"


def container_items(value: Argument) -> list[tuple[object, Argument]] | None:
    """Return the keys and values of a mapping, tuple, list or dataclass; None for a value of another type.

    The keys of a named tuple and of a dataclass are the names of their fields; those of other tuples and of lists count
    from 0.
    """
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (tuple, list)):
        return list(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in fields(value)]
    return None


def _holds_arrays(value: Argument) -> bool:
    """Return whether a value is a container of arrays; a list of numbers is not, as it is an array itself."""
    items = container_items(value)
    array_like = (np.ndarray, Mapping)
    return items is not None and any(isinstance(item, array_like) or _holds_arrays(item) for _, item in items)


def _array(spec: _InputSpec, value: Argument, axes: dict[str, tuple[int, str]]) -> NumpyArray:
    """Return the array of one input, checked. axes: the size of each dynamic axis so far, and the input that set it;
    this input's are added."""
    array = value if type(value) is np.ndarray else _convert(spec, value)
    if array.dtype != spec.dtype:
        raise InputError(
            f"input {spec.tensor.name!r} has dtype {array.dtype}; expected {spec.dtype}: "
            f"convert it with .astype({spec.tensor.dtype!r})"
        )
    shape = array.shape
    if len(shape) != spec.rank:
        raise _bad_shape(spec, array)
    for axis, size in spec.sizes:
        if shape[axis] != size:
            raise _bad_shape(spec, array)
    for axis, name in spec.axes:
        size, first = axes.setdefault(name, (shape[axis], spec.tensor.name))
        if shape[axis] != size:
            raise InputError(
                f"input {spec.tensor.name!r} has shape {shape}, so its axis {name!r} has size {shape[axis]}; "
                f"expected {size}, as in input {first!r}"
            )
    if spec.tensor.size:
        _check_number(spec.tensor, int(array), axes)
    flags = array.flags
    # np.ascontiguousarray would make a scalar 1-D.
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


def _check_number(tensor: Tensor, number: int, axes: dict[str, tuple[int, str]]) -> None:
    """Raise InputError for a number that no size can be, or that is not the size which it stands for."""
    if number < 0:
        raise InputError(f"input {tensor.name!r} is {number}; expected a number that is not negative")
    size, first = axes.setdefault(tensor.size, (number, tensor.name))
    if number != size:
        raise InputError(
            f"input {tensor.name!r} is {number}; expected {size}, the size of {tensor.size!r} in input {first!r}"
        )


def _bad_shape(spec: _InputSpec, array: NumpyArray) -> InputError:
    expected = ", ".join(map(str, spec.tensor.shape))
    return InputError(f"input {spec.tensor.name!r} has shape {array.shape}; expected [{expected}]")


def _convert(spec: _InputSpec, value: Argument) -> NumpyArray:
    """Return an array made of a number, a list, a tuple, or a subclass of ndarray."""
    name = spec.tensor.name
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"input {name!r} is a masked array, and a mask cannot be kept; fill it with .filled()")
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if not isinstance(value, (bool, int, float, list, tuple, np.generic)):
        raise InputError(
            f"input {name!r} is a {type(value).__module__}.{type(value).__qualname__}; expected a numpy array"
        )
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InputError(f"input {name!r} cannot be made an array: {error}") from None
    target = spec.dtype
    if array.size == 0 and array.dtype == np.float64:
        return array.astype(target)  # numpy makes [] an array of float64, whatever type the input has
    kinds = _KINDS.get(array.dtype.kind, 9), _KINDS[target.kind]
    if kinds[0] > kinds[1]:
        raise InputError(f"input {name!r} holds values of type {array.dtype}; expected numbers that fit {target}")
    with np.errstate(over="ignore"):
        result = array.astype(target)
    overflowed = np.isinf(result) & ~np.isinf(array.astype(np.float64))
    changed = overflowed if target.kind == "f" else result != array
    if changed.any():
        raise InputError(f"input {name!r} holds values too large for {target}: {array[changed].flat[0]}")
    return result
