"""Steps outside the graph: two small graphs, the field and one attempted step, which the runtime drives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from odelet.attempt import attempt
from odelet.method import Terms
from odelet.state import Layout
from odelet_export.emit import ONNX
from odelet_export.forms.site import Site, layout_of
from odelet_export.lift import Hole
from odelet_export.scope import Scope, Value

# Names that the two graphs give to what the driver feeds them; see docs/artifact.md.
RESERVED = ("t", "t1", "h", "y", "k", "rtol", "atol", "memory.0", "memory.1")


@dataclass(frozen=True)
class DrivenGraphs:
    """field: (t, y) to the slope. step: one attempted step, None where the field is all that is asked for.
    captured: values that both take from the host."""

    field: ir.Graph
    step: ir.Graph | None
    captured: Sequence[ir.Value]


def refusal(site: Site) -> str | None:
    """Why this form cannot have a solve, or None: it can have any."""
    del site
    return None


def build(hole: Hole, opset: int) -> DrivenGraphs:
    """The graphs of a solve."""
    captured = [value for value in hole.field.captured if value.const_value is None or value.is_graph_input()]
    field_graph = _Graph(hole, captured, f"solve_{hole.spec.index}_field", opset)
    t = field_graph.input("t", field_graph.dtype, [])
    field_graph.finish({"k": field_graph.field(t, field_graph.y)})
    if not hole.spec.adaptive and not hole.spec.solver.fixed:
        return DrivenGraphs(field_graph.graph, None, captured)
    step_graph = _Graph(hole, captured, f"solve_{hole.spec.index}_step", opset)
    step_graph.finish(_adaptive_step(step_graph) if hole.spec.adaptive else _fixed_step(step_graph))
    return DrivenGraphs(field_graph.graph, step_graph.graph, captured)


class _Graph:
    """A graph with the state's row, the captured values and the weights of a field in it."""

    def __init__(self, hole: Hole, captured: Sequence[ir.Value], name: str, opset: int) -> None:
        self.hole = hole
        self.graph = ir.Graph([], [], nodes=[], name=name, opset_imports={"": opset})
        self.scope = Scope.of(self.graph)
        self.dtype = hole.y0[0].dtype
        dims = [Value(part, self.scope).dims for part in hole.y0]
        self.y_shape = [1, _size(dims)]
        self.y = self.input("y", self.dtype, self.y_shape)
        outside = {value: self._stand_in(value) for value in hole.field.captured}
        self._shapes: dict[int, Value] = {}
        self.layout: Layout = layout_of(dims, self._shape, self.scope)
        self.field = hole.field.on_rows(self.scope, self.layout, outside)

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> Value:
        return Value(self.scope.builder.input(name, dtype, shape), self.scope)

    def _stand_in(self, value: ir.Value) -> ir.Value:
        if value.const_value is not None and not value.is_graph_input():
            copy = ir.Value(name=value.name, type=value.type, shape=value.shape, const_value=value.const_value)
            self.graph.register_initializer(copy)
        else:
            copy = ir.Value(name=value.name, type=value.type, shape=value.shape)
            self.graph.inputs.append(copy)
        return copy

    def _shape(self, i: int) -> Value:
        if i not in self._shapes:
            rank = len(self.hole.y0[i].shape or ())
            self._shapes[i] = self.input(f"shape.{i}", ir.DataType.INT64, [rank])
        return self._shapes[i]

    def finish(self, outputs: dict[str, Value]) -> None:
        for name, value in outputs.items():
            named = value
            if value.ir.producer() is None or value.ir in self.graph.outputs or value.ir.graph is not self.graph:
                named = self.scope.call("Identity", value)
            named.ir.name = name
            if name in ("y1", "k", "k0", "k1", "mid"):
                named.ir.shape = self.y.ir.shape
            self.graph.outputs.append(named.ir)


def _size(dims: Sequence[Any]) -> int | str:
    """The length of the row: a number if every size is known."""
    if all(part is not None and all(isinstance(dim, int) for dim in part) for part in dims):
        return sum(math.prod(part) for part in dims)
    return "n"


def _adaptive_step(graph: _Graph) -> dict[str, Value]:
    times = graph.hole.times
    double = ir.DataType.DOUBLE
    t, h = (graph.input(name, double, []) for name in ("t", "h"))
    k = graph.input("k", graph.dtype, graph.y_shape)
    rtol, atol = (graph.input(name, double, []) for name in ("rtol", "atol"))
    direction: Any = graph.scope.call("Sign", h)
    if times is not None:
        direction = -1.0 if times[0] > times[-1] else 1.0
    tried = attempt(
        graph.field,
        graph.hole.spec.tableau,
        t,
        h,
        graph.y,
        k,
        rtol=rtol,
        atol=atol,
        layout=graph.layout,
        direction=direction,
        xp=ONNX,
    )
    return {"y1": tried.y1, "k1": tried.k1, "mid": tried.mid, "ratio": tried.ratio}


def _fixed_step(graph: _Graph) -> dict[str, Value]:
    spec, hole, whole = graph.hole.spec, graph.hole, ir.DataType.INT64
    assert spec.grid is not None
    t, t1 = (graph.input(name, hole.t.dtype, []) for name in ("t", "t1"))
    known = {"rtol": spec.rtol, "atol": spec.atol} if spec.rtol is not None and spec.atol is not None else {}
    # Where the times are an input, their direction is that of the step.
    direction: Any = ONNX.cast(graph.scope.call("Sign", t1 - t), graph.y)
    if hole.times is not None:
        direction = -1.0 if hole.times[0] > hole.times[-1] else 1.0
    memory = []
    for i, start in enumerate(spec.solver.start(graph.y, xp=ONNX)):
        name = f"memory.{i}"
        if isinstance(start, Value):
            memory.append(graph.input(name, start.ir.dtype, ["slopes", graph.y_shape[1]]))
        else:
            memory.append(graph.input(name, whole, []))
    terms = Terms(direction=direction, perturb=spec.grid.perturb, **known)
    made = spec.solver.step(graph.field, t, t1, graph.y, tuple(memory), terms, xp=ONNX)
    outputs = {"y1": made.y1, **{f"memory1.{i}": x for i, x in enumerate(made.memory)}}
    outputs |= {"k0": made.k0} if spec.grid.reads_cubics else {}
    outputs |= {"calls": made.calls} if isinstance(made.calls, Value) else {}
    outputs |= {"failed": graph.scope.call("Cast", made.failed, to=whole)} if made.failed is not None else {}
    return outputs
