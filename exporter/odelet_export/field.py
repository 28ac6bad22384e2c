"""The vector field of a solve, as a piece of graph that can be put in any number of places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir import convenience

from odelet.backend import Array
from odelet.rk import Field as RowField
from odelet.state import Layout
from odelet_export.emit import ONNX
from odelet_export.scope import Scope, Value


@dataclass(frozen=True)
class Field:
    """dy/dt = f(t, y) between the markers of a solve.

    nodes: in order. t, y: the values that stand for time (scalar) and the parts of the state. slopes: the
    results. captured: values from outside that the nodes read, weights included.
    """

    nodes: Sequence[ir.Node]
    t: ir.Value
    y: Sequence[ir.Value]
    slopes: Sequence[ir.Value]
    captured: Sequence[ir.Value]

    def emit(self, scope: Scope, t: Value, y: Sequence[Value], outside: Mapping[ir.Value, ir.Value]) -> list[Value]:
        """Put a copy into a scope, on other values of t and y; `outside` renames captured values."""
        replaced = {value: outside.get(value, value) for value in self.captured}
        replaced |= {self.t: t.ir, **dict(zip(self.y, (part.ir for part in y), strict=True))}
        made = {output for node in self.nodes for output in node.outputs}
        results = [slope for slope in self.slopes if slope in made]
        view = ir.GraphView(list(replaced), results, nodes=self.nodes)
        copy = view.clone()
        for stand_in, actual in zip(list(copy.inputs), replaced.values(), strict=True):
            convenience.replace_all_uses_with(stand_in, actual)
        copied = dict(zip(results, list(copy.outputs), strict=True))
        nodes = list(copy)
        copy.outputs.clear()
        copy.remove(nodes)
        scope.graph.extend(nodes)
        return [
            Value(copied[slope], scope) if slope in copied else Value(replaced.get(slope, slope), scope)
            for slope in self.slopes
        ]

    def on_rows(self, scope: Scope, layout: Layout, outside: Mapping[ir.Value, ir.Value]) -> RowField:
        """The field as the solver text calls it: on a time and a row (1, n), in the scope of the row.

        The copy goes into the scope of the row or of the time, and not further out than `scope`.
        """

        def field(t: Array, row: Value) -> Value:
            time = ONNX.cast(t, row) if isinstance(t, Value) else scope.constant(t, row.dtype)
            inner = max((row.scope, time.scope, scope), key=lambda scope: scope.depth)
            slopes = self.emit(inner, time, layout.unpack(row, xp=ONNX), outside)
            return layout.pack(slopes, xp=ONNX)

        return field
