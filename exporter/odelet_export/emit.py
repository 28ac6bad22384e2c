"""The ONNX backend: arrays that are values of a graph being built.

`odelet`'s solver text runs on these arrays and so writes itself into the graph. A node goes into the
innermost scope of its operands, so that what does not change inside a loop is computed outside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript import GraphBuilder

Number = int | float | bool | np.generic | np.ndarray


class Scope:
    """A graph under construction: the main one, or the body of a loop inside another scope."""

    def __init__(self, builder: GraphBuilder, parent: Scope | None = None) -> None:
        self.builder = builder
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    @classmethod
    def of(cls, graph: ir.Graph) -> Scope:
        """The scope of a main graph; nodes are appended to it."""
        return cls(GraphBuilder(graph))

    @property
    def graph(self) -> ir.Graph:
        return self.builder.graph

    def call(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; inputs are Values, ir.Values or None. Returns a Value, or a list of them."""
        raw = [x.ir if isinstance(x, Value) else x for x in inputs]
        result = getattr(self.builder.op, op_type)(*raw, _outputs=outputs, **attributes)
        if outputs == 1:
            return Value(result[0] if isinstance(result, (list, tuple)) else result, self)
        return [Value(value, self) for value in result]

    def constant(self, x: Number, dtype: Any = None) -> Value:
        """A constant; equal ones are stored once."""
        array = np.ascontiguousarray(np.asarray(x, dtype=dtype)).reshape(np.shape(x))
        root = self.root
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in root._constants:
            name = f"odelet.constant_{len(root._constants)}"
            value = root.builder.initializer(ir.tensor(array, name=name), name, qualify=False)
            root._constants[key] = value
        return Value(root._constants[key], root)

    @property
    def root(self) -> Scope:
        return self if self.parent is None else self.parent.root

    def loop(
        self,
        body: Callable[..., tuple[Any, Sequence[Any], Sequence[Any]]],
        limit: Value,
        condition: Value | None,
        carried: Sequence[Value],
    ) -> tuple[list[Value], list[Value]]:
        """Emit a Loop.

        body: called with the inner scope, the iteration number and the carried values; returns the condition to
        go on (or None), the carried values after the iteration, and values to collect. Returns the final
        carried values and the collected ones, stacked along a new first axis.
        """
        inputs = [ir.val("iteration", ir.DataType.INT64, []), ir.val("go", ir.DataType.BOOL, [])]
        inputs += [ir.val(f"carried_{i}", x.ir.dtype, x.ir.shape) for i, x in enumerate(carried)]
        graph = ir.Graph(inputs, [], nodes=[], opset_imports=dict(self.graph.opset_imports), name="loop_body")
        inner = Scope(GraphBuilder(graph, parent=self.builder), self)
        iteration, go, *state = [Value(value, inner) for value in inputs]
        again, after, collect = body(inner, iteration, *state)
        # A body may not return its own input, nor a value from outside it, without a node between.
        graph.outputs.extend(
            value.ir if value.scope is inner and value.ir.producer() else inner.call("Identity", value).ir
            for value in [go if again is None else again, *after, *collect]
        )
        total = len(carried) + len(collect)
        result = self.call("Loop", limit, condition, *carried, body=graph, outputs=total)
        values = result if isinstance(result, list) else [result]
        for value, inner_value in zip(values, graph.outputs[1:], strict=True):
            value.ir.type = inner_value.type
        for value, start in zip(values, carried, strict=False):
            value.ir.shape = start.ir.shape
        for value, inner_value in zip(values[len(carried) :], graph.outputs[1 + len(carried) :], strict=True):
            if inner_value.shape is not None:
                value.ir.shape = ir.Shape([None, *inner_value.shape])
        return values[: len(carried)], values[len(carried) :]


class Value:
    """An array in a graph, with Python's operators. Python and numpy numbers join in as constants."""

    __slots__ = ("ir", "scope")
    __array_ufunc__ = None  # numpy scalars on the left must leave the operation to us

    def __init__(self, value: ir.Value, scope: Scope) -> None:
        self.ir = value
        self.scope = scope

    @property
    def dtype(self) -> np.dtype[Any]:
        assert self.ir.dtype is not None, f"no dtype for {self.ir.name}"
        return self.ir.dtype.numpy()

    @property
    def dims(self) -> list[int | str | None] | None:
        """The shape: integers, names of axes, or None where it is not known."""
        if self.ir.shape is None:
            return None
        return [dim if isinstance(dim, int) else dim.value for dim in self.ir.shape]

    def __add__(self, other: Any) -> Value:
        return self if _is(other, 0) else _binary("Add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self if _is(other, 0) else _binary("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self if _is(other, 0) else _binary("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return _binary("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        if _is(other, 1):
            return self
        return -self if _is(other, -1) else _binary("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self if _is(other, 1) else _binary("Div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return _binary("Div", other, self)

    def __pow__(self, other: Any) -> Value:
        return self if _is(other, 1) else _binary("Pow", self, other)

    def __neg__(self) -> Value:
        return self.scope.call("Neg", self)

    def __abs__(self) -> Value:
        return self.scope.call("Abs", self)

    def __lt__(self, other: Any) -> Value:
        return _binary("Less", self, other)

    def __le__(self, other: Any) -> Value:
        return _binary("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> Value:
        return _binary("Greater", self, other)

    def __ge__(self, other: Any) -> Value:
        return _binary("GreaterOrEqual", self, other)

    def __or__(self, other: Any) -> Value:
        return _binary("Or", self, other)

    def __and__(self, other: Any) -> Value:
        return _binary("And", self, other)

    def __invert__(self) -> Value:
        return self.scope.call("Not", self)

    def __getitem__(self, key: int | slice | Value) -> Value:
        """x[i] with an integer, constant or not, or x[a:b], along the first axis."""
        scope = self.scope
        if not isinstance(key, slice):
            index = scope.constant(key, np.int64) if isinstance(key, int) else key
            return _deepest(self, index).call("Gather", self, index, axis=0)
        assert key.step is None
        start, stop = key.start or 0, np.iinfo(np.int64).max if key.stop is None else key.stop
        bounds = [scope.constant(np.array([bound], np.int64)) for bound in (start, stop, 0)]
        return scope.call("Slice", self, *bounds)


def _is(x: Any, number: int) -> bool:
    return isinstance(x, (int, float, np.generic)) and bool(x == number)


def _deepest(*xs: Any) -> Scope:
    scopes = [x.scope for x in xs if isinstance(x, Value)]
    return max(scopes, key=lambda scope: scope.depth)


def _binary(op_type: str, a: Any, b: Any) -> Value:
    scope = _deepest(a, b)
    dtype = a.dtype if isinstance(a, Value) else b.dtype
    a, b = (x if isinstance(x, Value) else scope.constant(x, dtype) for x in (a, b))
    assert a.dtype == b.dtype, f"{op_type} of {a.dtype} and {b.dtype}"
    return scope.call(op_type, a, b)


class Onnx:
    """The backend `xp` that emits; each function is the one of `odelet.backend.Numpy`."""

    @staticmethod
    def minimum(a: Any, b: Any) -> Value:
        return _binary("Min", a, b)

    @staticmethod
    def maximum(a: Any, b: Any) -> Value:
        return _binary("Max", a, b)

    @staticmethod
    def where(condition: Value, a: Any, b: Any) -> Value:
        typed = next((x.dtype for x in (a, b) if isinstance(x, Value)), np.dtype(np.float64))
        scope = _deepest(condition, a, b)
        a, b = (x if isinstance(x, Value) else scope.constant(x, typed) for x in (a, b))
        return scope.call("Where", condition, a, b)

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
    def combine(y: Any, h: Any, weights: Sequence[float], ks: Sequence[Value]) -> Value:
        """One Concat and one MatMul: fewer nodes than products and sums, and faster at every size."""
        kept = [(w, k) for w, k in zip(weights, ks, strict=True) if w != 0]
        dtype = kept[0][1].dtype
        if len(kept) == 1:
            term = kept[0][1] * (h * dtype.type(kept[0][0]))
        else:
            row = np.array([[w for w, _ in kept]], dtype)
            scope = _deepest(h, *ks)
            scaled = scope.constant(row * h) if not isinstance(h, Value) else scope.constant(row) * h
            stacked = scope.call("Concat", *(k for _, k in kept), axis=0)
            term = scope.call("MatMul", scaled, stacked)
        return term if y is None else y + term

    @staticmethod
    def rms(x: Value) -> Value:
        mean = x.scope.call("ReduceMean", x * x, None, keepdims=0)
        return x.scope.call("Sqrt", mean)

    @staticmethod
    def reshape(x: Value, shape: Any) -> Value:
        """shape: a tuple of integers, at most one of them -1, or a 1-D int64 Value."""
        if isinstance(shape, Value):
            return _deepest(x, shape).call("Reshape", x, shape, allowzero=1)
        if x.dims is not None and _same_shape(x.dims, shape):
            return x
        return x.scope.call("Reshape", x, x.scope.constant(np.array(shape, np.int64)))

    @staticmethod
    def concat(xs: Sequence[Value], axis: int) -> Value:
        return _deepest(*xs).call("Concat", *xs, axis=axis)

    @staticmethod
    def split(x: Value, sizes: Any) -> list[Value]:
        """sizes: a list of integers, or a pair of a 1-D int64 Value and its length."""
        if isinstance(sizes, tuple):
            lengths, count = sizes
        else:
            lengths, count = x.scope.constant(np.array(sizes, np.int64)), len(sizes)
        pieces = _deepest(x, lengths).call("Split", x, lengths, axis=-1, outputs=count)
        for piece in pieces:
            if piece.ir.shape is None and x.dims is not None:
                piece.ir.shape = ir.Shape([*x.dims[:-1], None])
        return pieces

    @staticmethod
    def ceil(x: Value) -> Value:
        # A graph cannot refuse NaN or infinity; the times they come from make it report a status instead.
        countable = Onnx.where(x < 2.0**31, x, 0.0)
        return x.scope.call("Cast", x.scope.call("Ceil", countable), to=ir.DataType.INT64)

    @staticmethod
    def arange(count: Any, like: Value) -> Any:
        if not isinstance(count, Value):
            return like.scope.constant(np.arange(count, dtype=like.dtype))
        zero, one = (count.scope.constant(np.int64(i)) for i in (0, 1))
        return Onnx.cast(count.scope.call("Range", zero, count, one), like)


def _same_shape(dims: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    """Whether a reshape to `shape` would change nothing."""
    if len(dims) != len(shape) or list(shape).count(-1) > 1:
        return False
    return all(isinstance(dim, int) and dim == want for dim, want in zip(dims, shape, strict=True) if want != -1)


ONNX = Onnx()
