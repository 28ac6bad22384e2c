"""The site where a solve is built: the host's values around a hole, as the solver text takes them."""

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
    """A hole, and the scope that its solve is built in.

    layout: the layout of the parts of the state in a row. t: the output times (times,), an array where they are
    constant. direction: 1 or -1, a scalar of t's type in the graph where t is not constant. y0: the initial state, a
    row (1, n). field: takes a time and a row, returns the slope, a row. event: takes a time and a row, returns the
    values whose first zero ends the solve. max_steps: the default limit of attempted steps. settings: the names of the
    graph inputs for the settings that a caller may change, by setting; empty for a nested solve, whose settings are
    fixed. static: whether no array may have a size that varies, as the profile says. ahead: whether what does not
    depend on the state may be computed for all steps at once.
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
    static: bool = False
    ahead: bool = False

    @classmethod
    def of(
        cls,
        hole: Hole,
        scope: Scope,
        max_steps: int,
        settings: dict[str, str],
        *,
        static: bool = False,
        ahead: bool = False,
    ) -> Site:
        """The site of a hole. Nodes that it needs are appended to the scope."""
        parts = [Value(part, scope) for part in hole.y0]
        per_sample = hole.spec.per_sample
        dims = [part.dims for part in parts]
        layout = layout_of(dims, lambda i: scope.call("Shape", parts[i]), scope, per_sample=per_sample)
        if hole.norm is not None:
            layout = replace(layout, user_norm=hole.norm.measure(scope, {}))
        t: np.ndarray | Value = hole.times if hole.times is not None else Value(hole.t, scope)
        if isinstance(t, Value):
            direction: Any = ONNX.where(t[0] > t[-1], *(scope.constant(x, t.dtype) for x in (-1, 1)))
        else:
            direction = -1.0 if t[0] > t[-1] else 1.0
        y0 = layout.pack(parts, xp=ONNX)
        field = hole.field.field(scope, layout, {})
        event = hole.event.event(scope, layout, {}) if hole.event is not None else None
        return cls(hole, scope, layout, t, direction, y0, field, event, max_steps, settings, static, ahead)

    def reading(self, filled: Mapping[ir.Value, ir.Value]) -> Site:
        """The site after earlier solves were filled; see `Hole.reading`."""
        hole = self.hole.reading(filled)
        if hole is self.hole:
            return self
        return Site.of(hole, self.scope, self.max_steps, self.settings, static=self.static, ahead=self.ahead)

    def each(self, x: Value) -> Value:
        """The scalar x; where each batch row has its own steps, x repeated for each row: (samples,)."""
        if not self.hole.spec.per_sample:
            return x
        part = Value(self.hole.y0[0], self.scope)
        return self.scope.call("Expand", x, self.scope.call("Shape", part, start=0, end=1))

    @property
    def count(self) -> int | None:
        """The number of output times, where the export knows it."""
        return self.hole.count

    def scalar(self, x: float | Value, dtype: Any = np.float64) -> Value:
        """The scalar x as a Value: a number becomes a constant of that dtype."""
        return x if isinstance(x, Value) else self.scope.constant(x, dtype)

    def time(self, j: int) -> Any:
        """The output time of index j, a scalar: a constant in t's dtype, or a Value."""
        return self.t[j]

    def solution(self, rows: Value) -> list[Value]:
        """The parts of the solution, (times, *shape) each. rows: the states (times, n)."""
        parts = self.layout.slices(rows, xp=ONNX)
        shapes = [self._solution_shape(Value(part, self.scope)) for part in self.hole.y0]
        return [ONNX.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]

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
        """The status, or BAD_TIMES where output times given at run time are not strictly monotone."""
        if not isinstance(self.t, Value):
            return status
        gaps = (self.t[1:] - self.t[:-1]) * ONNX.cast(self.direction, self.t)
        wrong = self.scope.call("Cast", ~(gaps > 0), to=ir.DataType.INT64)
        some = self.scope.call("ReduceSum", wrong, keepdims=0)
        return ONNX.where(some > 0, BAD_TIMES, status)


def tolerance_inputs(
    spec: SolveSpec, scope: Scope, names: Mapping[str, str], dtype: np.dtype[Any], *, defaults: bool = True
) -> dict[str, Any]:
    """The tolerances rtol and atol of a solve by name: each a scalar, or a list of one scalar for each part of the
    state.

    names: the names of the graph inputs for them; without names they are constants. defaults: whether the graph inputs
    have the exported values as defaults.
    """
    tolerances: dict[str, Any] = {}
    for name, value in (("rtol", spec.rtol), ("atol", spec.atol)):
        if not names:
            row = value if isinstance(value, tuple) else (value,)
            constants = [scope.constant(dtype.type(x)) for x in row]
            tolerances[name] = constants if isinstance(value, tuple) else constants[0]
            continue
        tensor = ir.tensor(np.asarray(value, dtype), name=names[name])
        shape = (len(value),) if isinstance(value, tuple) else ()
        default = tensor if defaults else None
        entry = Value(scope.builder.input(names[name], tensor.dtype, list(shape), const_value=default), scope)
        tolerances[name] = [entry[i] for i in range(len(value))] if isinstance(value, tuple) else entry
    return tolerances


def in_dtype(number: np.dtype[Any], x: Any) -> Any:
    """The value x in a dtype, or a list with each of its entries in that dtype."""
    if isinstance(x, list):
        return [in_dtype(number, one) for one in x]
    if not isinstance(x, Value):
        return number.type(x)
    return x if x.dtype == number else x.scope.call("Cast", x, to=ir.DataType.from_numpy(number))


def not_finite(row: Value) -> Value:
    """Whether any element is infinite or NaN. A finite number times 0 is 0; infinity or NaN times 0 is NaN."""
    return row.scope.call("IsNaN", row.scope.call("ReduceSum", row * 0.0, keepdims=0))


def monotone_times(t: np.ndarray) -> bool:
    """Whether constant output times are strictly increasing or strictly decreasing, and finite."""
    gaps = np.diff(t)
    return bool(np.isfinite(t).all() and ((gaps > 0).all() or (gaps < 0).all()))


def known_sizes(part: Dims) -> list[int] | None:
    """The sizes of the axes of a part, or None where the export does not know them all."""
    sizes = [dim for dim in part or () if isinstance(dim, int)]
    return sizes if part is not None and len(sizes) == len(part) else None


def _one_unknown(dims: Sequence[Any]) -> bool:
    """Whether a reshape to these sizes can infer the unknown ones: at most one is unknown, and no other is 0."""
    return sum(not isinstance(dim, int) for dim in dims) <= 1 and 0 not in dims


def layout_of(dims: Sequence[Dims], shape: Callable[[int], Value], scope: Scope, *, per_sample: bool = False) -> Layout:
    """The layout of a state. dims: the shape of each part. shape: adds the shape of part i to the graph, where that
    shape cannot be inferred. per_sample: whether the layout has a table of batch rows for each part."""
    samples = [_table(part, i, shape) for i, part in enumerate(dims)] if per_sample else None
    shapes: list[Any] = [
        tuple(dim if isinstance(dim, int) else -1 for dim in part)
        if part is not None and _one_unknown(part)
        else shape(i)
        for i, part in enumerate(dims)
    ]
    if len(dims) == 1:
        return Layout(shapes, scalar=dims[0] == [], table_shapes=samples)
    widths = [math.prod(sizes) for part in dims if (sizes := known_sizes(part)) is not None]
    if len(widths) == len(dims):
        return Layout(shapes, sizes=widths, table_shapes=samples)
    whole = [s if isinstance(s, Value) else shape(i) for i, s in enumerate(shapes)]
    lengths = [scope.call("ReduceProd", s, scope.constant(np.array([0], np.int64)), keepdims=1) for s in whole]
    return Layout(shapes, sizes=(ONNX.concat(lengths, axis=0), len(dims)), table_shapes=samples)


def _table(part: Dims, i: int, shape: Callable[[int], Value]) -> Any:
    """The shape (samples, width) of a part, as `reshape` takes it."""
    sizes = None if part is None else known_sizes(part[1:])
    if sizes is not None and 0 not in sizes:
        return (-1, math.prod(sizes))
    whole = shape(i)
    return ONNX.concat([whole[:1], whole.scope.constant(np.array([-1], np.int64))], axis=0)
