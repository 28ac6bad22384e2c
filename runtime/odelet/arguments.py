"""From what a caller gave to the arrays that a graph takes.

The law here: an ndarray is taken as it is or refused, never cast; only lists and numbers are converted, and
only where every value fits. A few microseconds a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from odelet.card import Tensor
from odelet.errors import InputError

Array = np.ndarray[Any, Any]

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

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self._specs = {tensor.name: _Spec.of(tensor) for tensor in inputs}
        self._names = tuple(self._specs)

    def bind(self, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Array]:
        """Return an array for each input: of its dtype and shape, C-contiguous.

        Raises InputError naming the input, what came and what is expected.
        """
        given = self._match(args, named)
        axes: dict[str, tuple[int, str]] = {}
        return {name: _array(spec, given[name], axes) for name, spec in self._specs.items()}

    def _match(self, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        names = self._names
        told = f"the inputs are {', '.join(names)}" if names else "the model takes no inputs"
        if len(args) > len(names):
            raise InputError(f"{len(args)} positional arguments came; {told}")
        given = dict(zip(names, args, strict=False))
        for name, value in named.items():
            if name not in self._specs:
                raise InputError(f"there is no input {name!r}; {told}")
            if name in given:
                raise InputError(f"input {name!r} came twice, by position and by name")
            given[name] = value
        if len(given) < len(names):
            missing = [repr(name) for name in names if name not in given]
            raise InputError(f"missing input {', '.join(missing)}; {told}")
        return given


def _array(spec: _Spec, value: Any, axes: dict[str, tuple[int, str]]) -> Array:
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


def _bad_shape(spec: _Spec, array: Array) -> InputError:
    expected = ", ".join(map(str, spec.tensor.shape))
    return InputError(f"input {spec.tensor.name!r} has shape {array.shape}; expected [{expected}]")


def _convert(spec: _Spec, value: Any) -> Array:
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
