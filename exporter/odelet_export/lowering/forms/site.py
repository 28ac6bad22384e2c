"""Where a solver gets built: the host's values around a hole, as the solver text wants them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.numerics.events import EventValues
from odelet.numerics.rk import Field as RowField
from odelet.numerics.state import Layout
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.hole import Hole
from odelet_export.model.spec import SolveSpec

Dims = Sequence[int | str | None] | None
OK, STEP_LIMIT, STEP_UNDERFLOW, NOT_FINITE, BAD_TIMES = range(5)


@dataclass(frozen=True)
class Site:
    """A hole and the scope to fill it in.

    t: output times (times,), constant or not. direction: 1 or -1, a float64 scalar where t is not constant.
    y0: the initial state, a row (1, n). field: dy/dt on rows. event: the values whose first zero ends the
    solve, of a time and a row. max_steps: default limit of attempted steps.
    settings: the names of the graph inputs for what a caller may set; none where nobody may.
    """

    hole: Hole
    scope: Scope
    layout: Layout
    t: np.ndarray | Value
    direction: Any
    y0: Value
    field: RowField
    event: EventValues | None
    max_steps: int
    settings: dict[str, str]

    @classmethod
    def of(cls, hole: Hole, scope: Scope, max_steps: int, settings: dict[str, str]) -> Site:
        """Read a hole's surroundings, as nodes appended to the scope."""
        parts = [Value(part, scope) for part in hole.y0]
        per_sample = hole.spec.per_sample
        dims = [part.dims for part in parts]
        layout = layout_of(dims, lambda i: scope.call("Shape", parts[i]), scope, per_sample=per_sample)
        if hole.norm is not None:
            layout = replace(layout, user_norm=hole.norm.measure(scope, {}))
        t: np.ndarray | Value = hole.times if hole.times is not None else Value(hole.t, scope)
        if isinstance(t, Value):
            direction: Any = ONNX.where(t[0] > t[-1], -1.0, 1.0)
        else:
            direction = -1.0 if t[0] > t[-1] else 1.0
        y0 = layout.pack(parts, xp=ONNX)
        field = hole.field.field(scope, layout, {})
        event = hole.event.event(scope, layout, {}) if hole.event is not None else None
        return cls(hole, scope, layout, t, direction, y0, field, event, max_steps, settings)

    def reading(self, filled: Mapping[ir.Value, ir.Value]) -> Site:
        """The site where solves before it are filled; see `Hole.reading`."""
        hole = self.hole.reading(filled)
        return self if hole is self.hole else Site.of(hole, self.scope, self.max_steps, self.settings)

    def each(self, x: Value) -> Value:
        """A scalar, for each sample where they are solved each on its own: (samples,)."""
        if not self.hole.spec.per_sample:
            return x
        part = Value(self.hole.y0[0], self.scope)
        return self.scope.call("Expand", x, self.scope.call("Shape", part, start=0, end=1))

    @property
    def count(self) -> int | None:
        """How many output times, where that is known."""
        return self.hole.count

    def scalar(self, x: float | Value, dtype: Any = np.float64) -> Value:
        """x as a Value."""
        return x if isinstance(x, Value) else self.scope.constant(x, dtype)

    def time(self, j: int) -> Any:
        """The output time of index j, a scalar: a constant in t's dtype, or a Value."""
        return self.t[j]

    def solution(self, rows: Value) -> list[Value]:
        """Rows (times, n) to one value for each part, (times, *shape)."""
        pieces = self.layout.slices(rows, xp=ONNX)
        shapes = [self._solution_shape(Value(part, self.scope)) for part in self.hole.y0]
        return [ONNX.reshape(piece, shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def _solution_shape(self, part: Value) -> Any:
        dims = [self.count, *([None] if part.dims is None else part.dims)]
        if _one_unknown(dims):
            return tuple(dim if isinstance(dim, int) else -1 for dim in dims)
        if isinstance(self.t, Value):
            times = self.scope.call("Shape", self.t)
        else:
            times = self.scope.constant(np.array([len(self.t)], np.int64))
        return ONNX.concat([times, self.scope.call("Shape", part)], axis=0)

    def checked(self, status: Value) -> Value:
        """The status, or BAD_TIMES where times that came in are not strictly monotone."""
        if not isinstance(self.t, Value):
            return status
        gaps = (self.t[1:] - self.t[:-1]) * ONNX.cast(self.direction, self.t)
        wrong = self.scope.call("Cast", ~(gaps > 0), to=ir.DataType.INT64)
        some = self.scope.call("ReduceSum", wrong, keepdims=0)
        return ONNX.where(some > 0, BAD_TIMES, status)


def tolerance_inputs(
    spec: SolveSpec, scope: Scope, names: Mapping[str, str], dtype: np.dtype[Any], *, defaults: bool = True
) -> dict[str, Any]:
    """rtol and atol as graph inputs of these names, or constants where there are none: scalars, or a list of one for
    each part of the state."""
    made: dict[str, Any] = {}
    for name, value in (("rtol", spec.rtol), ("atol", spec.atol)):
        if not names:
            row = value if isinstance(value, tuple) else (value,)
            constants = [scope.constant(dtype.type(x)) for x in row]
            made[name] = constants if isinstance(value, tuple) else constants[0]
            continue
        tensor = ir.tensor(np.asarray(value, dtype), name=names[name])
        shape = (len(value),) if isinstance(value, tuple) else ()
        default = tensor if defaults else None
        given = Value(scope.builder.input(names[name], tensor.dtype, list(shape), const_value=default), scope)
        made[name] = [given[i] for i in range(len(value))] if isinstance(value, tuple) else given
    return made


def in_dtype(number: np.dtype[Any], x: Any) -> Any:
    """x, or each of a list, in the dtype of times."""
    if isinstance(x, list):
        return [in_dtype(number, one) for one in x]
    if not isinstance(x, Value):
        return number.type(x)
    return x if x.dtype == number else x.scope.call("Cast", x, to=ir.DataType.from_numpy(number))


def not_finite(row: Value) -> Value:
    """Whether any element is infinite or NaN: zero times a finite number is zero, and nothing else is."""
    return row.scope.call("IsNaN", row.scope.call("ReduceSum", row * 0.0, keepdims=0))


def monotone_times(t: np.ndarray) -> bool:
    """Whether constant output times are strictly increasing or strictly decreasing, and finite."""
    gaps = np.diff(t)
    return bool(np.isfinite(t).all() and ((gaps > 0).all() or (gaps < 0).all()))


def _one_unknown(dims: Sequence[Any]) -> bool:
    """Whether a reshape can infer the one size that is not known."""
    return sum(not isinstance(dim, int) for dim in dims) <= 1 and 0 not in dims


def layout_of(dims: Sequence[Dims], shape: Callable[[int], Value], scope: Scope, *, per_sample: bool = False) -> Layout:
    """The layout of a state whose parts have these dims; `shape(i)` is asked for those it cannot infer."""
    samples = [_table(part, i, shape) for i, part in enumerate(dims)] if per_sample else None
    shapes: list[Any] = [
        tuple(dim if isinstance(dim, int) else -1 for dim in part)
        if part is not None and _one_unknown(part)
        else shape(i)
        for i, part in enumerate(dims)
    ]
    if len(dims) == 1:
        return Layout(shapes, scalar=dims[0] == [], table_shapes=samples)
    if all(part is not None and all(isinstance(dim, int) for dim in part) for part in dims):
        sizes = [math.prod(part) for part in dims]  # type: ignore[arg-type]
        return Layout(shapes, sizes=sizes, table_shapes=samples)
    whole = [s if isinstance(s, Value) else shape(i) for i, s in enumerate(shapes)]
    lengths = [scope.call("ReduceProd", s, scope.constant(np.array([0], np.int64)), keepdims=1) for s in whole]
    return Layout(shapes, sizes=(ONNX.concat(lengths, axis=0), len(dims)), table_shapes=samples)


def _table(part: Dims, i: int, shape: Callable[[int], Value]) -> Any:
    """The shape (samples, width) of a part, in what reshape takes."""
    if part is not None and all(isinstance(dim, int) for dim in part[1:]) and 0 not in part[1:]:
        return (-1, math.prod(part[1:]))  # type: ignore[arg-type]
    whole = shape(i)
    return ONNX.concat([whole[:1], whole.scope.constant(np.array([-1], np.int64))], axis=0)
