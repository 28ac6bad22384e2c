"""From what a caller gave to the arrays that a graph takes.

The law here: an ndarray is taken as it is or refused, never cast; only lists and numbers are converted, and
only where every value fits. A few microseconds a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.errors import InputError
from odelet.model.noise import Noise
from odelet.numerics.backend import NumpyArray

_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}


@dataclass(frozen=True)
class _Spec:
    tensor: Tensor
    dtype: np.dtype[Any]
    rank: int
    sizes: tuple[tuple[int, int], ...]
    axes: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, tensor: Tensor) -> _Spec:
        return cls(
            tensor,
            np.dtype(tensor.dtype),
            len(tensor.shape),
            tuple((axis, size) for axis, size in enumerate(tensor.shape) if isinstance(size, int)),
            tuple((axis, name) for axis, name in enumerate(tensor.shape) if isinstance(name, str)),
        )


class Arguments:
    """The declared inputs of a model, ready to check a call's arguments against."""

    def __init__(self, card: Card) -> None:
        self._noise = Noise(card)
        self._specs = {tensor.name: _Spec.of(tensor) for tensor in card.inputs}
        self._names = tuple(self._specs)

    @property
    def noise(self) -> tuple[str, ...]:
        """Names of the inputs that are drawn where they are not given."""
        return self._noise.names

    def bind(self, args: tuple[Any, ...], named: dict[str, Any], *, seed: int | None = None) -> dict[str, NumpyArray]:
        """Return an array for each input: of its dtype and shape, C-contiguous; noise that is not given is drawn.

        Raises InputError naming the input, what came and what is expected.
        """
        given = self._match(args, named)
        axes: dict[str, tuple[int, str]] = {}
        self._noise.check_seed(seed)
        if not self._noise.names:
            return {name: _array(spec, given[name], axes) for name, spec in self._specs.items()}
        noise = self._noise.names
        values = {name: _array(spec, given[name], axes) for name, spec in self._specs.items() if name not in noise}
        sizes = {axis: size for axis, (size, _) in axes.items()}
        for name in noise:
            if name not in given:
                values[name] = self._noise.draw(name, sizes, seed)
                continue
            values[name] = _array(self._specs[name], given[name], axes)
            shape = self._noise.shape(name, sizes)
            if shape is not None and values[name].shape != shape:
                raise InputError(f"the noise {name!r} has shape {values[name].shape}; expected {shape}")
        return values

    def _match(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        names = self._names
        given: dict[str, Any] = {}
        for value in args:
            if len(given) == len(names):
                raise InputError(f"{len(args)} positional arguments came; {self._told()}")
            given |= self._positional(names[len(given)], value)
        for name, value in self.spread(named).items():
            if name in given:
                raise InputError(f"input {name!r} came twice, by position and by name")
            given[name] = value
        if len(given) == len(names):
            return given
        missing = [repr(name) for name in names if name not in given and name not in self._noise.names]
        if missing:
            raise InputError(f"missing input {', '.join(missing)}; {self._told()}")
        return given

    def spread(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, those that are dicts, tuples and the like as one for each input: `batch={"x": x}` is
        `batch.x`. Raises InputError for names that are none, and for parts that are no inputs."""
        if self._specs.keys() >= named.keys():
            return dict(named)
        spread: dict[str, Any] = {}
        for name, value in named.items():
            for leaf, part in self._leaves(name, value):
                if leaf in spread:
                    raise InputError(f"input {leaf!r} came twice, in {leaf.split('.')[0]!r} and by its own name")
                spread[leaf] = part
        return spread

    def _positional(self, name: str, value: Any) -> dict[str, Any]:
        """One array, or a whole argument of the model that its inputs from this one on are taken from."""
        if "." in name and (isinstance(value, Mapping) or _holds_arrays(value)):
            return dict(self._leaves(name.split(".")[0], value))
        return {name: value}

    def _leaves(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if name in self._specs:
            yield name, value
            return
        if not any(known.startswith(f"{name}.") for known in self._names):
            inside = "; what was no tensor when the model was exported keeps its value" if "." in name else ""
            raise InputError(f"there is no input {name!r}{inside}; {self._told()}")
        parts = container_items(value)
        if parts is None:
            wanted = ", ".join(known for known in self._names if known.startswith(f"{name}."))
            raise InputError(
                f"{name!r} is a {type(value).__name__}; expected a dict, tuple, list or dataclass with {wanted}"
            )
        for key, part in parts:
            yield from self._leaves(f"{name}.{key}", part)

    def _told(self) -> str:
        return f"the inputs are {', '.join(self._names)}" if self._names else "the model takes no inputs"


def container_items(value: Any) -> list[tuple[Any, Any]] | None:
    """The keys and values of a mapping, tuple, list or dataclass; None for a value of another type.

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


def _holds_arrays(value: Any) -> bool:
    """Whether a value is a container of arrays, and not an array itself, as a list of numbers is."""
    parts = container_items(value)
    held = (np.ndarray, Mapping)
    return parts is not None and any(isinstance(part, held) or _holds_arrays(part) for _, part in parts)


def _array(spec: _Spec, value: Any, axes: dict[str, tuple[int, str]]) -> NumpyArray:
    """Check one input. axes: the size of each dynamic axis so far, and the input that set it."""
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
    flags = array.flags
    # Not np.ascontiguousarray, which makes a scalar 1-D.
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


def _bad_shape(spec: _Spec, array: NumpyArray) -> InputError:
    expected = ", ".join(map(str, spec.tensor.shape))
    return InputError(f"input {spec.tensor.name!r} has shape {array.shape}; expected [{expected}]")


def _convert(spec: _Spec, value: Any) -> NumpyArray:
    """Make an array of numbers, lists, tuples, or a subclass of ndarray."""
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
        return array.astype(target)  # [] is float64 to numpy, whatever it is to hold
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
