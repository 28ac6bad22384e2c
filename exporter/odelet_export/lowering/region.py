"""The functions of a solve, its field above all, as nodes that can be copied into any number of places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import NamedTuple

import onnx_ir as ir

from odelet.numerics.backend import Array
from odelet.numerics.events import EventValues
from odelet.numerics.rk import Field as RowField
from odelet.numerics.state import Layout
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.nodes import copy_nodes
from odelet_export.graphs.scope import Scope, Value


class Copy(NamedTuple):
    """A copy of a function in a graph: the values of its arguments, None for an argument that it does not read; its
    results."""

    inputs: list[ir.Value | None]
    results: list[ir.Value]


@dataclass(frozen=True)
class Region:
    """A function of the model between two markers of a solve.

    nodes: the nodes in order. inputs: the values that stand for the arguments, the time first. results: the values that
    the function returns.
    captured: values from outside that the nodes read, weights included. copies: the copies made so far.
    """

    nodes: Sequence[ir.Node]
    inputs: Sequence[ir.Value]
    results: Sequence[ir.Value]
    captured: list[ir.Value]
    copies: list[Copy] = dataclass_field(default_factory=list)

    def emit(self, scope: Scope, inputs: Sequence[Value], outside: Mapping[ir.Value, ir.Value]) -> list[Value]:
        """Put a copy into a scope and return its results.

        inputs: the arguments of the copy. outside: for captured values, the values that the copy reads instead.
        """
        replaced = {value: outside.get(value, value) for value in self.captured}
        replaced |= dict(zip(self.inputs, (value.ir for value in inputs), strict=True))
        copied, read = copy_nodes(self.nodes, self.results, replaced, scope.graph)
        results = [copied.get(result, replaced.get(result, result)) for result in self.results]
        read |= set(self.results)
        self.copies.append(Copy([replaced[value] if value in read else None for value in self.inputs], results))
        return [Value(value, scope) for value in results]

    def call(
        self,
        scope: Scope,
        layout: Layout,
        outside: Mapping[ir.Value, ir.Value],
        t: Array,
        row: Value,
    ) -> list[Value]:
        """Put a copy on a time and a row (1, n), and return its results. The arguments are those of `call_on`."""
        return self.call_on(scope, outside, t, layout.unpack(row, xp=ONNX))

    def call_on(
        self, scope: Scope, outside: Mapping[ir.Value, ir.Value], t: Array, state: Sequence[Value]
    ) -> list[Value]:
        """Put a copy on a time and the parts of a state, and return its results.

        t: a scalar, or (samples,) where each batch row has its own time. The copy goes into the innermost scope of the
        parts, the time and `scope`. outside: as in `emit`.
        """
        like = Value(self.inputs[0], scope)
        time = ONNX.cast(t, like) if isinstance(t, Value) else scope.constant(t, like.dtype)
        if like.dims:  # each batch row has its own time
            time = ONNX.reshape(time, (-1, *[1] * (len(like.dims) - 1)))
        inner = max((*(part.scope for part in state), time.scope, scope), key=lambda scope: scope.depth)
        return self.emit(inner, [time, *state], outside)

    def field(self, scope: Scope, layout: Layout, outside: Mapping[ir.Value, ir.Value]) -> RowField:
        """The field as the solver text calls it: it takes a time and a row (1, n), and returns the slope, (1, n)."""
        return lambda t, row: layout.pack(self.call(scope, layout, outside, t, row), xp=ONNX)

    def event(self, scope: Scope, layout: Layout, outside: Mapping[ir.Value, ir.Value]) -> EventValues:
        """The event function as the solver text calls it: it takes a time and a row (1, n), and returns the values
        (events,)."""
        return lambda t, row: self.call(scope, layout, outside, t, row)[0]

    def measure(self, scope: Scope, outside: Mapping[ir.Value, ir.Value]) -> Callable[[list[Array]], Array]:
        """The norm as a Layout takes it: a function of the parts of a state that returns a scalar.

        The parts are cast to the dtype that the norm was traced in. torchdiffeq calls it with float64 where tolerances
        are per part or the state has the shape (); in a float32 model the norm then has fewer digits here.
        """

        def measure(parts: list[Array]) -> Array:
            like = [Value(value, scope) for value in self.inputs]
            inner = max((part.scope for part in parts), key=lambda scope: scope.depth)
            unused = scope.constant(0, like[0].dtype)
            cast = [ONNX.cast(part, one) for part, one in zip(parts, like[1:], strict=True)]
            return self.emit(inner, [unused, *cast], outside)[0]

        return measure
