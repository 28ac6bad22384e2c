"""What the solver text needs besides `+ - * / **`, comparisons and `abs`: some thirty functions.

The text of a solver (`rk`, `adams`, `implicit`, `control`, `dense`, `state`, `grid`, `attempt`, `fixed_point`) is
written once and takes a backend `xp`. This module is the reference: numpy. `SCALARS` does the same for Python floats,
where the driver's control runs. The exporter supplies one whose arrays are values of an ONNX graph, and one of torch
tensors for iterations that torch has no solver for.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = Any  # of whatever the backend computes with: a numpy array or scalar, a float, a tensor, a value of a graph
NumpyArray = np.ndarray[Any, Any]  # of any dtype and shape


class Numpy:
    """The reference backend."""

    minimum = staticmethod(np.minimum)
    where = staticmethod(np.where)  # two Python numbers make a float64, in every backend

    @staticmethod
    def maximum(a: Array, *others: Array) -> Array:
        """The largest of two or more, element by element."""
        for b in others:
            a = np.maximum(a, b)
        return a

    @staticmethod
    def cast(x: Array, like: Array) -> Array:
        """x in the dtype of `like`."""
        return x.astype(like.dtype) if isinstance(x, np.ndarray) else like.dtype.type(x)

    @staticmethod
    def rounding(like: Array) -> tuple[float, float]:
        """Unit roundoff and smallest positive number of the dtype of `like`."""
        info = np.finfo(like.dtype)
        return float(info.eps) / 2, float(info.smallest_subnormal)

    @staticmethod
    def combine(y: Array | None, h: Array, weights: Sequence[float], ks: Sequence[Array]) -> Array:
        """y + h * sum(w * k), or without y. Zero weights cost nothing and hide what they multiply."""
        terms = [k * (w * h) for w, k in zip(weights, ks, strict=True) if w != 0]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total if y is None else y + total

    @staticmethod
    def rms(x: Array, *, axis: int | None = None) -> Array:
        """Root of the mean square of all elements, or along an axis; 0 for an empty array, which has no error."""
        if not x.size:
            return np.sqrt(np.sum(x * x, axis=axis))
        return np.sqrt(np.mean(x * x, axis=axis))

    @staticmethod
    def affine(a: Array, b: Array, x: Array) -> Array:
        """a + b * x, for scalars a and b and a row x."""
        return a + b * x

    @staticmethod
    def expand(x: Array, like: Array) -> Array:
        """x repeated to the shape of `like`."""
        return np.broadcast_to(x, like.shape)

    @staticmethod
    def reshape(x: Array, shape: Any) -> Array:
        return np.reshape(x, shape)

    @staticmethod
    def concat(xs: Sequence[Array], axis: int) -> Array:
        return np.concatenate(xs, axis=axis)

    @staticmethod
    def split(x: Array, sizes: Sequence[int]) -> Sequence[Array]:
        """Cut the last axis into pieces of the given sizes."""
        return np.split(x, np.cumsum(sizes)[:-1], axis=-1)

    @staticmethod
    def matmul(a: Array, b: Array) -> Array:
        """The product of two matrices, or of two stacks of as many."""
        return a @ b

    @staticmethod
    def transpose(x: Array, axes: tuple[int, ...] = (1, 0)) -> Array:
        """x with its axes in another order."""
        return np.transpose(x, axes)

    @staticmethod
    def sum(x: Array, axis: int) -> Array:
        """The sum along an axis, which goes."""
        return np.sum(x, axis=axis)

    @staticmethod
    def take(x: Array, index: int, axis: int) -> Array:
        """The entry of an axis, which goes."""
        return np.take(x, index, axis=axis)

    @staticmethod
    def any(condition: Array) -> Array:
        """Whether a condition, a scalar or a row of them, holds anywhere."""
        return np.any(condition)

    @staticmethod
    def stacked_shape(count: int, shape: Any) -> Any:
        """The shape (count, *shape), in what reshape takes, of one that is."""
        return (count, *shape)

    @staticmethod
    def divisor(x: Array) -> Array:
        """A number that is not negative, to divide by: 0 gives infinity, or as good as that."""
        return np.maximum(x, np.finfo(x.dtype).tiny)

    sign = staticmethod(np.sign)
    log = staticmethod(np.log)
    equal = staticmethod(np.equal)

    @staticmethod
    def smallest(x: Array) -> Array:
        """The smallest element."""
        return np.min(x)

    @staticmethod
    def branch(
        condition: Array, then: Callable[..., Array], otherwise: Callable[..., Array], *operands: Array
    ) -> Array:
        """then(*operands) if the condition, a scalar, holds, else otherwise(*operands); only one is computed.

        Each returns one array, or a tuple of as many; those in one place have one dtype and shape. A condition that
        is a Python bool is decided here and now.
        """
        return then(*operands) if condition else otherwise(*operands)

    @staticmethod
    def loop(
        body: Callable[..., tuple[Array, Sequence[Array]]], limit: Array, go_on: Array, carried: Sequence[Array]
    ) -> list[Array]:
        """While go_on, and at most `limit` times: go_on, carried = body(*carried). Returns the last carried.

        go_on: a scalar, or True, which the body then returns too: only the limit ends the loop.
        """
        state, turns = list(carried), 0
        while go_on and turns < limit:
            go_on, after = body(*state)
            state, turns = list(after), turns + 1
        return state

    @staticmethod
    def resizable(x: Array) -> Array:
        """x, to be carried by a loop that adds rows to it."""
        return x

    @staticmethod
    def row_count(x: Array) -> Array:
        """How many rows x has."""
        return x.shape[0]

    @staticmethod
    def constant(values: Array, like: Array) -> Array:
        """An array of numbers, in the dtype of `like`."""
        return np.asarray(values, like.dtype)

    @staticmethod
    def largest(x: Array) -> Array:
        """The largest of numbers that are not negative; NaN if any is, and 0 for an empty array."""
        return np.max(x) if x.size else x.dtype.type(0)

    @staticmethod
    def ceil(x: Array) -> int:
        """The smallest whole number not below x, as a count."""
        return int(math.ceil(x))

    @staticmethod
    def arange(count: int, like: Array) -> Array:
        """0, 1, ..., count - 1 in the dtype of `like`."""
        return np.arange(count, dtype=like.dtype)


class Scalars:
    """The few functions that step size control needs, on Python floats: 20 times faster than numpy's."""

    minimum = staticmethod(min)
    maximum = staticmethod(max)

    @staticmethod
    def cast(x: float, like: float) -> float:
        return type(like)(x)

    @staticmethod
    def where(condition: bool, x: float, y: float) -> float:
        return x if condition else y

    @staticmethod
    def divisor(x: float) -> float:
        return max(x, sys.float_info.min)

    @staticmethod
    def sign(x: float) -> float:
        return 1.0 if x > 0 else -1.0 if x < 0 else x


NUMPY = Numpy()
SCALARS = Scalars()
