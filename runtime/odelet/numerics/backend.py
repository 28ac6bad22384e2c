"""The functions that solver text needs besides `+ - * / **`, comparisons and `abs`: some thirty, as protocols.

Solver text is the code of `numerics` and `methods` that takes a backend `xp`. It is written once and runs on each of
four backends: `NUMPY`, the reference, which is here; `SCALARS` in `scalars`; the exporter's `ONNX`, whose arrays are
values of a graph, so that the text writes itself into the graph; and `TORCH` in odelet_intercept, for iterations that
torch has no solver for. A function asks for the narrowest protocol that it can do with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

# A value that a backend computes with: a numpy array or scalar, a Python float, a tensor, a value of a graph. These
# share neither a base class nor a protocol that mypy could use, as their operators take each other and numbers: hence
# Any.
Array = Any
# An Array that is one number or one truth value, of shape (). Where each sample of a batch is solved on its own, it is
# a row of one number for each sample, (samples,).
Scalar = Any
# A shape as `reshape` takes it: a tuple of whole numbers, one of them perhaps -1, or a 1-D int64 value of a graph.
Shape = Any
# A numpy array of any dtype and shape.
NumpyArray = np.ndarray[Any, Any]
# The body of a loop: it takes the arrays that the loop carries, and returns whether the loop goes on, and the arrays
# that it then carries.
LoopBody = Callable[..., tuple[Scalar, Sequence[Array]]]


class CommonBackend(Protocol):
    """The functions that every backend has."""

    def maximum(self, a: Array, /, *others: Array) -> Array:
        """The largest of two or more, element by element; NaN if any of them is NaN, except for Python floats."""

    def where(self, condition: Array, x: Array, y: Array, /) -> Array:
        """x where the condition holds, else y. Two Python numbers make a float64."""

    def cast(self, x: Array, like: Array, /) -> Array:
        """x in the dtype of `like`."""


class ScalarBackend(CommonBackend, Protocol):
    """The functions that step size control needs."""

    def minimum(self, a: Array, b: Array, /) -> Array:
        """The smaller of two, element by element."""

    def divisor(self, x: Array, /) -> Array:
        """x, at least 0, as a divisor: division by the divisor of 0 gives infinity or a huge number, and no error."""

    def sign(self, x: Array, /) -> Array:
        """-1, 0 or 1, element by element; NaN for NaN."""


class StateBackend(CommonBackend, Protocol):
    """The functions that layouts of states and fixed-point iterations need."""

    def reshape(self, x: Array, shape: Shape, /) -> Array:
        """The elements of x in another shape."""

    def stacked_shape(self, count: int, shape: Shape, /) -> Shape:
        """The shape (count, *shape)."""

    def expand(self, x: Array, like: Array, /) -> Array:
        """x repeated to the shape of `like`."""

    def transpose(self, x: Array, axes: tuple[int, ...] = (1, 0), /) -> Array:
        """x with its axes in the given order."""

    def concat(self, xs: Sequence[Array], /, axis: int) -> Array:
        """The arrays one after another along an axis that exists."""

    def split(self, x: Array, sizes: Any, /) -> Sequence[Array]:
        """Slices of these sizes along the last axis. sizes: whole numbers; or, for the ONNX backend, a 1-D int64 value
        of the graph and how many sizes it holds."""

    def take(self, x: Array, index: int, /, axis: int) -> Array:
        """The entry of x at `index` along `axis`; the result lacks that axis."""

    def constant(self, values: Any, like: Array, /) -> Array:
        """An array of Python numbers, in the dtype of `like`."""

    def matmul(self, a: Array, b: Array, /) -> Array:
        """The product of two matrices, or of two stacks of equally many matrices."""

    def sum(self, x: Array, /, axis: int) -> Array:
        """The sum over `axis`; the result lacks that axis."""

    def rms(self, x: Array, /, *, axis: int | None = None) -> Array:
        """The root of the mean square of all elements, or over one axis; 0 for an empty array, which has no error."""

    def any(self, condition: Array, /) -> Scalar:
        """Whether a condition, a scalar or a row, holds anywhere."""

    def loop(self, body: LoopBody, limit: Scalar, go_on: Scalar, carried: Sequence[Array], /) -> Sequence[Array]:
        """Repeat go_on, carried = body(*carried) while go_on holds, at most `limit` times; return the last carried.

        go_on: a scalar; or True, which the body then returns too, so that only the limit ends the loop.
        """


class Backend(ScalarBackend, StateBackend, Protocol):
    """All functions that solver text may use."""

    def rounding(self, like: Array, /) -> tuple[float, float]:
        """The unit roundoff and the smallest positive number of the dtype of `like`."""

    def combine(self, y: Array | None, h: Array, weights: Sequence[float], ks: Sequence[Array], /) -> Array:
        """y + h * sum(w * k), or without y. A weight of 0 costs nothing, and hides a NaN in its k."""

    def log(self, x: Array, /) -> Array:
        """The natural logarithm."""

    def sqrt(self, x: Array, /) -> Array:
        """The square root."""

    def ceil(self, x: Scalar, /) -> Scalar:
        """The smallest whole number that is not below x, as a count."""

    def equal(self, a: Array, b: Array, /) -> Array:
        """Whether a equals b, element by element; NaN equals nothing."""

    def smallest(self, x: Array, /) -> Scalar:
        """The smallest element."""

    def largest(self, x: Array, /) -> Scalar:
        """The largest of numbers that are at least 0; NaN if any is NaN, and 0 for an empty array."""

    def arange(self, count: Scalar, like: Array, /) -> Array:
        """0, 1, ..., count - 1 in the dtype of `like`."""

    def resizable(self, x: Array, /) -> Array:
        """x as the start of an array that a loop carries and adds rows to."""

    def row_count(self, x: Array, /) -> Scalar:
        """The number of rows of x."""

    def branch(
        self, condition: Scalar, then: Callable[..., Any], otherwise: Callable[..., Any], /, *operands: Array
    ) -> Any:
        """then(*operands) if the condition holds, else otherwise(*operands); only one of them is computed.

        Each returns one array, or a tuple of equally many; arrays in one place of it have one dtype and shape. A
        condition that is a Python bool is decided while the text runs.
        """


class Numpy:
    """The reference backend, on numpy arrays and scalars."""

    minimum = staticmethod(np.minimum)
    where = staticmethod(np.where)
    sign = staticmethod(np.sign)
    reshape = staticmethod(np.reshape)
    log = staticmethod(np.log)
    sqrt = staticmethod(np.sqrt)
    equal = staticmethod(np.equal)
    smallest = staticmethod(np.min)
    matmul = staticmethod(np.matmul)
    any = staticmethod(np.any)

    @staticmethod
    def maximum(a: Array, *others: Array) -> Array:
        for b in others:
            a = np.maximum(a, b)
        return a

    @staticmethod
    def cast(x: Array, like: Array) -> Array:
        return x.astype(like.dtype) if isinstance(x, np.ndarray) else like.dtype.type(x)

    @staticmethod
    def divisor(x: Array) -> Array:
        return np.maximum(x, np.finfo(x.dtype).tiny)

    @staticmethod
    def stacked_shape(count: int, shape: Shape) -> Shape:
        return (count, *shape)

    @staticmethod
    def expand(x: Array, like: Array) -> Array:
        return np.broadcast_to(x, like.shape)

    @staticmethod
    def transpose(x: Array, axes: tuple[int, ...] = (1, 0)) -> Array:
        return np.transpose(x, axes)

    @staticmethod
    def concat(xs: Sequence[Array], axis: int) -> Array:
        return np.concatenate(xs, axis=axis)

    @staticmethod
    def sum(x: Array, axis: int) -> Array:
        return np.sum(x, axis=axis)

    @staticmethod
    def split(x: Array, sizes: Sequence[int]) -> Sequence[Array]:
        return np.split(x, np.cumsum(sizes)[:-1], axis=-1)

    @staticmethod
    def take(x: Array, index: int, axis: int) -> Array:
        return np.take(x, index, axis=axis)

    @staticmethod
    def constant(values: Any, like: Array) -> Array:
        return np.asarray(values, like.dtype)

    @staticmethod
    def rms(x: Array, *, axis: int | None = None) -> Array:
        return np.sqrt(np.mean(x * x, axis=axis) if x.size else np.sum(x * x, axis=axis))

    @staticmethod
    def loop(body: LoopBody, limit: Scalar, go_on: Scalar, carried: Sequence[Array]) -> list[Array]:
        state, turns = list(carried), 0
        while go_on and turns < limit:
            go_on, after = body(*state)
            state, turns = list(after), turns + 1
        return state

    @staticmethod
    def rounding(like: Array) -> tuple[float, float]:
        info = np.finfo(like.dtype)
        return float(info.eps) / 2, float(info.smallest_subnormal)

    @staticmethod
    def combine(y: Array | None, h: Array, weights: Sequence[float], ks: Sequence[Array]) -> Array:
        terms = [k * (w * h) for w, k in zip(weights, ks, strict=True) if w != 0]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total if y is None else y + total

    @staticmethod
    def ceil(x: Scalar) -> int:
        return int(math.ceil(x))

    @staticmethod
    def largest(x: Array) -> Scalar:
        return np.max(x) if x.size else x.dtype.type(0)

    @staticmethod
    def arange(count: int, like: Array) -> Array:
        return np.arange(count, dtype=like.dtype)

    @staticmethod
    def resizable(x: Array) -> Array:
        return x

    @staticmethod
    def row_count(x: Array) -> int:
        return int(x.shape[0])

    @staticmethod
    def branch(condition: Scalar, then: Callable[..., Any], otherwise: Callable[..., Any], *operands: Array) -> Any:
        return then(*operands) if condition else otherwise(*operands)


# The annotation makes mypy prove that the backend has the functions that its callers need.
NUMPY: Backend = Numpy()
