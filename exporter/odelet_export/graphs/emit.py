"""The ONNX backend: solver text runs on the values of a graph, and so writes itself into that graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import onnx_ir as ir

from odelet.numerics.backend import Backend, Shape
from odelet_export.graphs.scope import Number, Scope, Value, binary, deepest

# A value of the graph, or a number that becomes a constant of it.
Operand = Value | Number
NumberType = TypeVar("NumberType", bound=Number)


class Onnx:
    """The backend whose functions add nodes to a graph. `odelet.numerics.backend` documents their results.

    A function whose arguments are all numbers returns a number and adds no node.
    """

    @overload
    @staticmethod
    def minimum(a: Value, b: Operand) -> Value: ...

    @overload
    @staticmethod
    def minimum(a: Operand, b: Value) -> Value: ...

    @overload
    @staticmethod
    def minimum(a: NumberType, b: NumberType) -> NumberType: ...

    @staticmethod
    def minimum(a: Any, b: Any) -> Any:
        return binary("Min", a, b) if isinstance(a, Value) or isinstance(b, Value) else min(a, b)

    @overload
    @staticmethod
    def maximum(a: Value, *others: Operand) -> Value: ...

    @overload
    @staticmethod
    def maximum(a: Any, *others: Any) -> Any: ...

    @staticmethod
    def maximum(a: Any, *others: Any) -> Any:
        values = [x for x in (a, *others) if isinstance(x, Value)]
        if not values:
            return max(a, *others)
        scope, dtype = deepest(*values), values[0].dtype
        return scope.call("Max", *(x if isinstance(x, Value) else scope.constant(x, dtype) for x in (a, *others)))

    @overload
    @staticmethod
    def where(condition: Value, a: Operand, b: Operand) -> Value: ...

    @overload
    @staticmethod
    def where(condition: bool, a: Any, b: Any) -> Any: ...

    @staticmethod
    def where(condition: Any, a: Any, b: Any) -> Any:
        if not isinstance(condition, Value):
            return a if condition else b
        typed = next((x.dtype for x in (a, b) if isinstance(x, Value)), np.result_type(a, b))
        scope = deepest(condition, a, b)
        a, b = (x if isinstance(x, Value) else scope.constant(x, typed) for x in (a, b))
        return scope.call("Where", condition, a, b)

    @overload
    @staticmethod
    def cast(x: Value, like: Any) -> Value: ...

    @overload
    @staticmethod
    def cast(x: Number, like: Any) -> np.generic: ...

    @staticmethod
    def cast(x: Any, like: Any) -> Any:
        if not isinstance(x, Value):
            return like.dtype.type(x)
        return x if x.dtype == like.dtype else x.scope.call("Cast", x, to=ir.DataType.from_numpy(like.dtype))

    @staticmethod
    def rounding(like: Any) -> tuple[float, float]:
        info = np.finfo(like.dtype)
        return float(info.eps) / 2, float(info.smallest_subnormal)

    @staticmethod
    def combine(y: Value | None, h: Any, weights: Sequence[float], ks: Sequence[Value]) -> Value:
        # One Concat and one Gemm have fewer nodes than a chain of products and sums, and are faster at every size.
        nonzero = [(w, k) for w, k in zip(weights, ks, strict=True) if w != 0]
        dtype = nonzero[0][1].dtype
        row = np.array([[w for w, _ in nonzero]], dtype)
        scope = deepest(h, *ks)
        stacked = Onnx.concat([k for _, k in nonzero], axis=0) if len(nonzero) > 1 else nonzero[0][1]
        if isinstance(h, Value) and h.dims != []:
            term = scope.call("MatMul", scope.constant(row), stacked) * h
            return term if y is None else y + term
        scaled = scope.constant(row) * h if isinstance(h, Value) else scope.constant(row * h)
        if y is None:
            return scope.call("MatMul", scaled, stacked)
        return deepest(scaled, stacked, y).call("Gemm", scaled, stacked, y)

    @staticmethod
    def rms(x: Value, *, axis: int | None = None) -> Value:
        axes = None if axis is None else x.scope.constant(np.array([axis], np.int64))
        mean = x.scope.call("ReduceMean", x * x, axes, keepdims=0)
        return x.scope.call("Sqrt", mean)

    @staticmethod
    def expand(x: Value, like: Value) -> Value:
        return deepest(x, like).call("Expand", x, like.scope.call("Shape", like))

    @staticmethod
    def reshape(x: Value, shape: Shape) -> Value:
        if isinstance(shape, Value):
            return deepest(x, shape).call("Reshape", x, shape, allowzero=1)
        if x.dims is not None and _same_shape(x.dims, shape):
            return x
        return x.scope.call("Reshape", x, x.scope.constant(np.array(shape, np.int64)))

    @staticmethod
    def concat(xs: Sequence[Value], axis: int) -> Value:
        return deepest(*xs).call("Concat", *xs, axis=axis)

    @staticmethod
    def split(x: Value, sizes: Sequence[int] | tuple[Value, int]) -> list[Value]:
        if isinstance(sizes, tuple):
            lengths, count = sizes
        else:
            lengths, count = x.scope.constant(np.array(sizes, np.int64)), len(sizes)
        slices: list[Value] = deepest(x, lengths).call("Split", x, lengths, axis=-1, outputs=count)
        for part in slices:
            if part.ir.shape is None and x.dims is not None:
                part.ir.shape = ir.Shape([*x.dims[:-1], None])
        return slices

    @staticmethod
    def matmul(a: Operand, b: Operand) -> Value:
        scope = deepest(a, b)
        a, b = (x if isinstance(x, Value) else scope.constant(x) for x in (a, b))
        return scope.call("MatMul", a, b)

    @staticmethod
    def transpose(x: Value, axes: tuple[int, ...] = (1, 0)) -> Value:
        return x.scope.call("Transpose", x, perm=list(axes))

    @staticmethod
    def sum(x: Value, axis: int) -> Value:
        return x.scope.call("ReduceSum", x, x.scope.constant(np.array([axis], np.int64)), keepdims=0)

    @staticmethod
    def take(x: Value, index: int, axis: int) -> Value:
        return x.scope.call("Gather", x, x.scope.constant(index, np.int64), axis=axis)

    @staticmethod
    def any(condition: Value) -> Value:
        if condition.dims == []:
            return condition
        counted = condition.scope.call("Cast", condition, to=ir.DataType.INT64)
        return condition.scope.call("ReduceSum", counted, keepdims=0) > 0

    @staticmethod
    def stacked_shape(count: int, shape: Shape) -> Shape:
        if not isinstance(shape, Value):
            return (count, *shape)
        return Onnx.concat([shape.scope.constant(np.array([count], np.int64)), shape], axis=0)

    @staticmethod
    def divisor(x: Value) -> Value:
        return x  # In a graph, division by 0 gives infinity and raises nothing.

    @staticmethod
    def sign(x: Value) -> Value:
        return x.scope.call("Sign", x)

    @staticmethod
    def log(x: Value) -> Value:
        return x.scope.call("Log", x)

    @staticmethod
    def sqrt(x: Any) -> Any:
        return x.scope.call("Sqrt", x) if isinstance(x, Value) else np.sqrt(x)

    @staticmethod
    def equal(a: Operand, b: Operand) -> Value:
        return binary("Equal", a, b)

    @staticmethod
    def smallest(x: Value) -> Value:
        return x.scope.call("ReduceMin", x, None, keepdims=0)

    @staticmethod
    def branch(condition: Any, then: Callable[..., Any], otherwise: Callable[..., Any], *operands: Any) -> Any:
        if not isinstance(condition, Value):
            return then(*operands) if condition else otherwise(*operands)
        return deepest(condition, *operands).branch(condition, then, otherwise, operands)

    @staticmethod
    def loop(
        body: Callable[..., tuple[Any, Sequence[Value]]], limit: Any, go_on: Any, carried: Sequence[Value]
    ) -> list[Value]:
        scope = deepest(go_on, limit, *carried)

        def emitted(_inner: Scope, _turn: Value, *state: Value) -> tuple[Any, Sequence[Value], Sequence[Value]]:
            again, after = body(*state)
            return None if again is True else again, after, []

        most = limit if isinstance(limit, Value) else scope.constant(limit, np.int64)
        condition = go_on if isinstance(go_on, Value) else scope.constant(go_on)
        final, _ = scope.loop(emitted, most, condition, carried)
        return final

    @staticmethod
    def resizable(x: Value) -> Value:
        # The result is a copy of x with a shape of its own, which must not fix the number of rows.
        copied = x.scope.passed(x)
        copied.ir.shape = None if x.dims is None else ir.Shape([None, *x.dims[1:]])
        return copied

    @staticmethod
    def row_count(x: Value) -> Value:
        return Onnx.reshape(x.scope.call("Shape", x, start=0, end=1), ())

    @staticmethod
    def constant(values: Any, like: Value) -> Value:
        return like.scope.constant(values, like.dtype)

    @staticmethod
    def largest(x: Value) -> Value:
        # ReduceMax of ONNX Runtime skips NaN and refuses an empty array: the sum puts a NaN back, and a 0 is appended.
        padded = x.scope.call("Concat", Onnx.reshape(x, (1, -1)), x.scope.constant(np.zeros((1, 1), x.dtype)), axis=1)
        return x.scope.call("ReduceMax", padded, keepdims=0) + x.scope.call("ReduceSum", x * 0.0, keepdims=0)

    @staticmethod
    def ceil(x: Value) -> Value:
        # A graph cannot refuse a count that is NaN or infinite. It becomes 0 here, and the status of the solve tells of
        # it.
        countable = Onnx.where(x < 2.0**31, x, 0.0)
        return x.scope.call("Cast", x.scope.call("Ceil", countable), to=ir.DataType.INT64)

    @staticmethod
    def arange(count: int | Value, like: Value) -> Value:
        if not isinstance(count, Value):
            return like.scope.constant(np.arange(count, dtype=like.dtype))
        zero, one = (count.scope.constant(np.int64(i)) for i in (0, 1))
        return Onnx.cast(count.scope.call("Range", zero, count, one), like)


def _same_shape(dims: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    """Whether a reshape of an array of these dims to `shape` would change nothing."""
    if len(dims) != len(shape) or list(shape).count(-1) > 1:
        return False
    return all(isinstance(dim, int) and dim == size for dim, size in zip(dims, shape, strict=True) if size != -1)


ONNX = Onnx()

if TYPE_CHECKING:
    # In this way mypy proves that ONNX has all functions that solver text may use, while they keep narrower types.
    _: Backend = ONNX
