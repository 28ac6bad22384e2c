"""Steps outside the graph: the runtime drives small graphs of the field, of one attempted step and of an event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.artifact.solve_card import SETTINGS, DriveCard, EventCard
from odelet.engine.buffers import MEMORY as MEMORY_INPUTS
from odelet.engine.sde_steps import MOTION
from odelet.methods.fixed_point import Iteration, IterationState, initial_state, take_turn
from odelet.methods.method import StepSettings
from odelet.numerics.adaptive_step import attempt, first_length
from odelet.numerics.state import Layout
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms import stochastic
from odelet_export.lowering.forms.ahead import Called, of_attempt, of_stages
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.site import Site, in_dtype, known_sizes, layout_of, tolerance_inputs
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.region import Region
from odelet_intercept.call_options import POINTS

# Names of the graph inputs that the driver feeds; see docs/artifact.md.
RESERVED = ("t", "t1", "h", "y", "k", "rtol", "atol", "direction", *MEMORY_INPUTS, *MOTION)


def lower(site: Site) -> LoweredSolve:
    """Build the graphs of a solve, and say how the runtime drives them. The site's host graph stays as it is."""
    hole, spec = site.hole, site.hole.spec
    read = dict.fromkeys(value for region in hole.regions.values() for value in region.captured)
    read |= dict.fromkeys(value for name, value in hole.extras.items() if name == "first_step")
    captured = [value for value in read if value.const_value is None or value.is_graph_input()]
    graphs = _graphs(hole, site.scope.root.graph.opset_imports[""], ahead=site.ahead)
    files = {kind: f"solve_{spec.index}_{kind}.onnx" for kind in graphs}
    event_file = files.get("event")
    drive = DriveCard(
        field=files.get("field"),
        step=files.get("step"),
        start=files.get("start"),
        t=None if spec.timeless else str(hole.t.name),
        y0=tuple(str(part.name) for part in hole.y0),
        solution=tuple(str(value.name) for value in hole.solution),
        captured=tuple(str(value.name) for value in captured),
        options=spec.options,
        batched=_batched(hole, captured) if spec.own_times else None,
        event=None
        if event_file is None or hole.event_time is None
        else EventCard(graph=event_file, time=str(hole.event_time.name)),
        **{name: str(value.name) for name, value in hole.extras.items() if name in (*POINTS, "grid")},
    )
    solver = spec.solver
    keys: Sequence[str] = SETTINGS if spec.chooses_steps or spec.timeless else () if solver.fixed else ("rtol", "atol")
    return LoweredSolve(
        settings=dict.fromkeys(keys),
        drive=drive,
        graphs={files[kind]: graph for kind, graph in graphs.items()},
        captured=captured,
    )


def _batched(hole: Hole, captured: Sequence[ir.Value]) -> tuple[str, ...] | None:
    """The names of the captured values that have a row for each sample; None where their sizes do not show which."""
    samples = hole.y0[0].shape[0] if hole.y0[0].shape is not None else None
    if isinstance(samples, int) or samples is None or samples.value is None:
        return None
    with_rows = []
    for value in captured:
        dims = list(value.shape) if value.shape is not None else None
        names = [] if dims is None else [dim.value for dim in dims if isinstance(dim, ir.SymbolicDim)]
        others = [name for name in names if name is None or (name != samples.value and samples.value in name)]
        if dims is None or others or samples.value in names[1:]:
            return None
        if dims and isinstance(dims[0], ir.SymbolicDim) and dims[0].value == samples.value:
            with_rows.append(str(value.name))
        elif samples.value in names:
            return None
    return tuple(with_rows)


def _graphs(hole: Hole, opset: int, *, ahead: bool) -> dict[str, ir.Graph]:
    """The graphs of a solve, by kind.

    field: takes (t, y), returns the slope. step: one attempted step, unless the driver needs the field alone; for an
    iteration, one turn, and an iteration has no other graph. start: the length of the first step, where it is to be
    estimated or is a value of the host. event: takes (t, y), returns the values whose first zero ends the solve, where
    one does.
    """
    solver = [hole.field, *([hole.norm] if hole.norm is not None else [])]
    if hole.spec.timeless:
        step = _Graph(hole, "step", opset, *solver)
        step.finish(_turn(step))
        return {"step": step.graph}
    field = _Graph(hole, "field", opset, hole.field)
    t = field.input("t", hole.t.dtype if hole.spec.solver.stochastic else field.dtype, field.lanes)
    field.finish({"k": field.called.call(t, field.y)})
    graphs = {"field": field.graph}
    if hole.spec.solver.stochastic:
        step = _Graph(hole, "step", opset, *hole.regions.values())
        step.finish(stochastic.driven_step(hole, step.scope, step.layout, step.outside, step.y, step.input))
        graphs["step"] = step.graph
        return graphs
    if hole.spec.adaptive or hole.spec.solver.fixed:
        step = _Graph(hole, "step", opset, *solver)
        step.finish(_adaptive_step(step, ahead=ahead) if hole.spec.adaptive else _fixed_step(step, ahead=ahead))
        graphs["step"] = step.graph
    if hole.spec.control is not None and hole.spec.control.first_step is None:
        start = _Graph(hole, "start", opset, *solver)
        start.finish(_first_step(start))
        graphs["start"] = start.graph
    if hole.event is not None:
        # The event is a graph of its own, not an output of the step: bisection evaluates it at states between the ends
        # of a step.
        event = _Graph(hole, "event", opset, hole.event)
        dtype = hole.event.inputs[0].dtype
        t = event.input("t", dtype if dtype is not None else event.dtype, [])
        event.finish({"c": hole.event.event(event.scope, event.layout, event.outside)(t, event.y)})
        graphs["event"] = event.graph
    return graphs


class _Graph:
    """A graph under construction, with the state's row as an input, and the values that some functions of the solve
    read: weights as initializers, values of the host as inputs."""

    def __init__(self, hole: Hole, kind: str, opset: int, *regions: Region) -> None:
        self.hole = hole
        name = f"solve_{hole.spec.index}_{kind}"
        self.graph = ir.Graph([], [], nodes=[], name=name, opset_imports={"": opset})
        self.scope = Scope.of(self.graph)
        self.dtype = hole.y0[0].dtype
        dims = [Value(part, self.scope).dims for part in hole.y0]
        self.y_shape = [1, _size(dims)]
        self.y = self.input("y", self.dtype, self.y_shape)
        captured = dict.fromkeys(value for region in regions for value in region.captured)
        self.outside = {value: self.stand_in(value) for value in captured}
        self._shapes: dict[int, Value] = {}
        self.layout: Layout = layout_of(dims, self._shape, self.scope, per_sample=hole.spec.per_sample)
        if hole.norm in regions and hole.norm is not None:
            self.layout = replace(self.layout, user_norm=hole.norm.measure(self.scope, self.outside))
        # The shape of times and step lengths: one for each batch row, or one for all.
        self.lanes: list[int | str] = ["samples"] if hole.spec.per_sample else []
        self.called = Called(hole.field, self.scope, self.layout, self.outside)

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> Value:
        return Value(self.scope.builder.input(name, dtype, shape), self.scope)

    def stand_in(self, value: ir.Value) -> ir.Value:
        if value.const_value is not None and not value.is_graph_input():
            name = f"host.{value.name}" if value.name in RESERVED else value.name
            copy = ir.Value(name=name, type=value.type, shape=value.shape, const_value=value.const_value)
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
            if name in ("ratio", "h"):
                named.ir.shape = ir.Shape([None] if self.lanes else [])
            elif name in ("y1", "k", "k0", "k1", "mid"):
                named.ir.shape = self.y.ir.shape
            self.graph.outputs.append(named.ir)


def _size(dims: Sequence[Any]) -> int | str:
    """The length of the row: a number if every size is known."""
    widths = [math.prod(sizes) for part in dims if (sizes := known_sizes(part)) is not None]
    return sum(widths) if len(widths) == len(dims) else "n"


def _control(graph: _Graph) -> tuple[np.dtype[Any], dict[str, Any]]:
    """The dtype of times, and the arguments for error control that the solver text takes."""
    spec = graph.hole.spec
    assert spec.control is not None
    number = np.promote_types(spec.control.dtype, Value(graph.hole.y0[0], graph.scope).dtype)
    tolerances = tolerance_inputs(spec, graph.scope, {"rtol": "rtol", "atol": "atol"}, number, defaults=False)
    return number, {**tolerances, "layout": graph.layout, "xp": ONNX}


def _first_step(graph: _Graph) -> dict[str, Value]:
    number, common = _control(graph)
    given = graph.hole.extras.get("first_step")
    t = graph.input("t", ir.DataType.from_numpy(number), graph.lanes)
    k = graph.input("k", graph.dtype, graph.y_shape)
    if given is not None:
        h = in_dtype(number, Value(graph.outside.get(given) or graph.stand_in(given), graph.scope))
        return {"h": graph.scope.call("Expand", h, graph.scope.call("Shape", t)) if graph.lanes else h}
    times = graph.hole.times
    if times is not None:
        direction: Any = number.type(-1 if times[0] > times[-1] else 1)
    else:
        direction = graph.input("direction", ir.DataType.from_numpy(number), [])
    order = graph.hole.spec.tableau.order
    return {"h": first_length(graph.called.call, t, graph.y, k, order=order, direction=direction, **common)}


def _adaptive_step(graph: _Graph, *, ahead: bool) -> dict[str, Value]:
    number, common = _control(graph)
    t, t1, h = (graph.input(name, ir.DataType.from_numpy(number), graph.lanes) for name in ("t", "t1", "h"))
    k = graph.input("k", graph.dtype, graph.y_shape)
    times = graph.hole.times
    direction: Any = graph.scope.call("Sign", h[0] if graph.lanes else h)
    if times is not None:
        direction = number.type(-1 if times[0] > times[-1] else 1)
    tableau = graph.hole.spec.tableau
    field = of_attempt(graph.called, tableau, t, t1, h, graph.y, direction=direction) if ahead else None
    tried = attempt(field or graph.called.call, tableau, t, t1, h, graph.y, k, direction=direction, **common)
    return {"y1": tried.y1, "k1": tried.k1, "mid": tried.mid, "ratio": tried.ratio}


def _fixed_step(graph: _Graph, *, ahead: bool) -> dict[str, Value]:
    spec, hole, whole = graph.hole.spec, graph.hole, ir.DataType.INT64
    assert spec.grid is not None
    t, t1 = (graph.input(name, hole.t.dtype, []) for name in ("t", "t1"))
    # Where the output times are an input, the direction is that of the step.
    direction: Any = ONNX.cast(graph.scope.call("Sign", t1 - t), graph.y)
    if hole.times is not None:
        direction = -1.0 if hole.times[0] > hole.times[-1] else 1.0
    memory = []
    for i, start in enumerate(spec.solver.initial_memory(graph.y, xp=ONNX)):
        name = f"memory.{i}"
        if isinstance(start, Value):
            memory.append(graph.input(name, start.ir.dtype, ["slopes", graph.y_shape[1]]))
        else:
            memory.append(graph.input(name, whole, []))
    terms = StepSettings(direction=direction, perturb=spec.grid.perturb, **spec.corrector)
    field = of_stages(graph.called, spec.solver.times(t, t1, graph.y, terms, xp=ONNX)) if ahead else None
    fixed_step = spec.solver.step(field or graph.called.call, t, t1, graph.y, tuple(memory), terms, xp=ONNX)
    outputs = {"y1": fixed_step.y1, **{f"memory1.{i}": x for i, x in enumerate(fixed_step.memory)}}
    outputs |= {"k0": fixed_step.k0} if spec.grid.reads_cubics else {}
    outputs |= {"calls": fixed_step.evaluations} if isinstance(fixed_step.evaluations, Value) else {}
    outputs |= (
        {"failed": graph.scope.call("Cast", fixed_step.unconverged, to=whole)}
        if fixed_step.unconverged is not None
        else {}
    )
    return outputs


def _turn(graph: _Graph) -> dict[str, Value]:
    """The outputs of one turn of an iteration: its state after the turn."""
    spec, method = graph.hole.spec, graph.hole.spec.solver
    assert isinstance(method, Iteration)
    like = initial_state(method, graph.y, layout=graph.layout, xp=ONNX)
    lanes = ("excess", "least_excess", "turns")
    shapes = [graph.lanes if name in lanes else graph.y_shape for name in IterationState._fields[:-1]]
    shapes += [[_rows(x), graph.y_shape[1]] for x in like.memory]
    names = ("y", *MEMORY_INPUTS[: len(shapes) - 1])
    inputs = [graph.input(name, graph.dtype, shape) for name, shape in zip(names[1:], shapes[1:], strict=True)]
    tolerances = tolerance_inputs(spec, graph.scope, {"rtol": "rtol", "atol": "atol"}, graph.y.dtype, defaults=False)
    state = IterationState.of([graph.y, *inputs])
    after = take_turn(
        method, lambda row: graph.called.call(0.0, row), state, layout=graph.layout, xp=ONNX, **tolerances
    )
    results = ("y1", *(name.replace("memory", "memory1") for name in names[1:]))
    return dict(zip(results, after.flat(), strict=True))


def _rows(x: Value) -> int:
    """The number of rows of a value, which the export knows."""
    rows = (x.dims or [None])[0]
    assert isinstance(rows, int)
    return rows


def unsuited(site: Site) -> str | None:
    """The reason why a solve cannot have the form although its method can, or None."""
    if site.event is not None and "step_size" in site.hole.extras:
        return "it searches for an event by steps whose length is computed from the inputs"
    return None


DRIVEN = Form(name="driven", lower=lower, unsuited=unsuited, varies="tolerances")
