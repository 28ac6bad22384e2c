"""Lift: from a graph with marked solves to a host graph with holes, each hole with its functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from odelet_export.capture import Captured
from odelet_export.errors import CaptureError
from odelet_export.field import Region
from odelet_export.markers import DOMAIN, read_end
from odelet_export.nodes import bodies, read_by
from odelet_export.spec import SolveSpec


@dataclass(frozen=True)
class Placed:
    """Where the steps of a solve are put: positions (steps + 1,), from 0 at its first time to 1 at its last. samples:
    name of the axis that is the first of every part of its state and counts samples, or None."""

    positions: np.ndarray
    samples: str | None = None


@dataclass(frozen=True)
class Hole:
    """A solve of the host graph, waiting for a solver.

    regions: its functions, the "field" and those that the spec names. t: the output times, a value of the
    host, and `times` their constant, if they are; of an iteration, a number that nothing reads. y0: the parts of the
    initial state. solution: what stands for the results, (times, *shape) each, of an iteration (*shape), until they are
    replaced. event_time: the same, a scalar in the dtype of t,
    where the solve ends at an event; its two times are then the start and whatever says the direction. extras:
    other values of the host that the solver takes, by their names in the spec, such as the grid of a fixed-step
    solve where the model constructs it. nested: a line about each solve inside its functions, filled already. placed:
    its steps, for the form `bounded`.
    """

    spec: SolveSpec
    regions: Mapping[str, Region]
    t: ir.Value
    times: np.ndarray | None
    y0: Sequence[ir.Value]
    solution: Sequence[ir.Value]
    event_time: ir.Value | None = None
    extras: Mapping[str, ir.Value] = dataclasses.field(default_factory=dict)
    nested: tuple[str, ...] = ()
    placed: Placed | None = None

    def reading(self, filled: Mapping[ir.Value, ir.Value]) -> Hole:
        """The hole where solves before it are filled, and so what stood for their results is another value."""

        def now(values: Sequence[ir.Value]) -> list[ir.Value]:
            return [filled.get(value, value) for value in values]

        read = [self.t, *self.y0, *self.extras.values()]
        for region in self.regions.values():
            read += [*region.captured, *region.results]
        if not filled.keys() & set(read):
            return self
        regions = {
            name: dataclasses.replace(region, captured=now(region.captured), results=now(region.results))
            for name, region in self.regions.items()
        }
        extras = dict(zip(self.extras, now(list(self.extras.values())), strict=True))
        (t,) = now([self.t])
        return dataclasses.replace(self, regions=regions, t=t, y0=now(self.y0), extras=extras)

    @property
    def field(self) -> Region:
        """dy/dt = f(t, y), or what an iteration makes of y."""
        return self.regions["field"]

    @property
    def event(self) -> Region | None:
        """The function whose zero ends the solve."""
        return self.regions.get("event")

    @property
    def norm(self) -> Region | None:
        """The function that says how large an error is."""
        return self.regions.get("norm")

    @property
    def results(self) -> list[ir.Value]:
        """All that the solve gives: the solution, and the time of the event."""
        return [*self.solution, *([] if self.event_time is None else [self.event_time])]

    @property
    def grid(self) -> ir.Value | None:
        """The grid that the model constructs."""
        return self.extras.get("grid")

    @property
    def grid_points(self) -> np.ndarray | None:
        """The constructed grid, if it is a constant."""
        return None if self.grid is None else _constant(self.grid)

    @property
    def count(self) -> int | None:
        """How many output times, where it is known at export."""
        if self.times is not None:
            return len(self.times)
        dim = self.t.shape[0] if self.t.shape is not None else None
        return dim if isinstance(dim, int) else None


Owners = Mapping[ir.Node, ir.Node]
Markers = Mapping[tuple[str, int], ir.Node]
# A line about each solve inside others, by the mark of the solve around it.
Notes = Mapping[int, tuple[str, ...]]


def lift(captured: Captured, nested: Notes = MappingProxyType({})) -> list[Hole]:
    """Find the holes, in the order of the solves. nested: about those inside, filled already.

    Nodes that depend on a marker's t or y become the field; everything else stays in the host, where it
    is computed once. Raises CaptureError when something computed inside a field is used outside it.
    """
    graph, marks = captured.model.graph, {spec.mark for spec in captured.specs}
    for node in graph:
        if node.domain == DOMAIN and node.attributes["solve"].as_int() not in marks:
            raise CaptureError(
                "the model uses a value that a field computed in its last call, without the result of that solve; "
                "compute it outside the field, or return it as part of the state"
            )
    return [hole_of(graph, spec, nested.get(spec.mark, ())) for spec in captured.specs]


def hole_of(graph: ir.Graph, spec: SolveSpec, nested: tuple[str, ...] = ()) -> Hole:
    """The hole of one solve, inside whose functions there is no other any more."""
    return replace(_hole(graph, spec, _markers(graph), owners_in(graph)), nested=nested)


def _markers(graph: ir.Graph) -> Markers:
    return {(node.op_type, node.attributes["solve"].as_int()): node for node in graph if node.domain == DOMAIN}


def owners_in(graph: ir.Graph) -> Owners:
    """Nodes inside the subgraphs of a node of the main graph, with that node."""
    return {inner: node for node in graph for body in bodies(node) for inner in body.all_nodes()}


def _hole(graph: ir.Graph, spec: SolveSpec, markers: Markers, owners: Owners) -> Hole:
    end = markers["End", spec.mark]
    given = read_end(spec, _values(end.inputs))
    y0, t, results = given.y0, given.t, given.results
    begins = {
        name: markers.get(("Begin" if name == "field" else name.capitalize(), spec.mark)) or _unused_marker(y0)
        for name in results
    }
    for begin in begins.values():
        _hoist_shapes(begin.outputs[1:], y0)
    inside = {name: dependents(begin.outputs, end, owners) for name, begin in begins.items()}
    regions = {name: _region(graph, spec, begins[name], end, inside[name], results[name], owners) for name in results}
    for name, region in regions.items():
        others = {output for other in begins if other != name for output in begins[other].outputs}
        others |= {output for other in begins if other != name for node in inside[other] for output in node.outputs}
        if others.intersection(region.captured):
            raise CaptureError(
                f"the solve at {spec.source}: what one of its functions computes is used by its {name} function; "
                "compute it from t and y in each of them"
            )
    outputs = list(end.outputs)
    event_time = outputs[-1] if spec.until_event else None
    return Hole(spec, regions, t, _constant(t), y0, outputs[: spec.parts], event_time, given.extras)


def _region(
    graph: ir.Graph,
    spec: SolveSpec,
    begin: ir.Node,
    end: ir.Node,
    inside: set[ir.Node],
    results: Sequence[ir.Value],
    owners: Owners,
) -> Region:
    """What lies between a marker and the results of the function that it began."""
    members = ancestors(results, inside)
    for node in inside - members:
        _check_closed(spec, node, end, owners)
    nodes = [node for node in graph if node in members]
    made = {output for node in nodes for output in node.outputs} | set(begin.outputs)
    read = [value for node in nodes for value in read_by(node)]
    captured = dict.fromkeys(value for value in [*read, *results] if value not in made)
    return Region(nodes, list(begin.outputs), results, list(captured))


def _unused_marker(y0: Sequence[ir.Value]) -> ir.Node:
    """For a function of neither t nor y: its marker led nowhere and was dropped."""
    marker = ir.Node(DOMAIN, "Begin", y0, num_outputs=1 + len(y0))
    for output, like in zip(marker.outputs, [y0[0], *y0], strict=True):
        output.type, output.shape = like.type, like.shape
    marker.outputs[0].shape = ir.Shape([])
    return marker


def _values(values: Sequence[ir.Value | None]) -> list[ir.Value]:
    return [value for value in values if value is not None]


def _hoist_shapes(marks: Sequence[ir.Value], y0: Sequence[ir.Value]) -> None:
    """Read the state's shape off the initial state, so that what follows from it stays outside the field."""
    for mark, initial in zip(marks, y0, strict=True):
        for use in list(mark.uses()):
            if use.node.op_type == "Shape" and use.node.domain == "":
                use.node.replace_input_with(use.idx, initial)


def dependents(values: Sequence[ir.Value], end: ir.Node, owners: Owners) -> set[ir.Node]:
    """The nodes of the main graph that depend on the values, not passing through `end`."""
    found: set[ir.Node] = set()
    waiting = list(values)
    while waiting:
        for node in {use.node for use in waiting.pop().uses()}:
            outer = owners.get(node, node)
            if outer is not end and outer not in found:
                found.add(outer)
                waiting.extend(outer.outputs)
    return found


def ancestors(values: Sequence[ir.Value], within: set[ir.Node]) -> set[ir.Node]:
    """The nodes of a set that the values are computed by."""
    found: set[ir.Node] = set()
    waiting = list(values)
    while waiting:
        node = waiting.pop().producer()
        if node is not None and node in within and node not in found:
            found.add(node)
            waiting.extend(read_by(node))
    return found


def time_inputs(captured: Captured) -> set[str]:
    """The model's inputs that the output times of some solve are computed from."""
    graph = captured.model.graph
    waiting = [node.inputs[-1] for node in graph if node.domain == DOMAIN and node.op_type == "End"]
    found: set[ir.Value] = set()
    while waiting:
        value = waiting.pop()
        if value is None or value in found:
            continue
        found.add(value)
        node = value.producer()
        if node is not None and node.op_type not in ("Shape", "Size") and node.domain != DOMAIN:
            waiting.extend(read_by(node))
    return {str(value.name) for value in graph.inputs if value in found}


def _check_closed(spec: SolveSpec, node: ir.Node, end: ir.Node, owners: Owners) -> None:
    """Refuse a node that takes something out of a field; those that lead nowhere will be removed."""
    waiting, seen = [node], {node}
    while waiting:
        current = waiting.pop()
        escaped = current.domain == DOMAIN or any(output.is_graph_output() for output in current.outputs)
        if escaped and current is not end:
            raise CaptureError(
                f"the solve at {spec.source}: a value computed inside the field ({node.op_type}) is used outside "
                "it, so the field keeps something between calls; return it as part of the state instead"
            )
        for output in current.outputs:
            for use in output.uses():
                user = owners.get(use.node, use.node)
                if user is not end and user not in seen:
                    seen.add(user)
                    waiting.append(user)


def _constant(value: ir.Value) -> np.ndarray | None:
    return None if value.const_value is None or value.is_graph_input() else value.const_value.numpy()
