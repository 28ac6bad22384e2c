"""Lift: turns a captured graph with markers into a host graph with holes, each with the functions of its solve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import onnx_ir as ir

from odelet_export.capture.captured import Captured
from odelet_export.capture.marker_format import end_inputs_of, marker_of
from odelet_export.graphs.nodes import DOMAIN, bodies, constant_of, read_by
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.region import Region
from odelet_export.lowering.step_lengths import with_lengths
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError

Owners = Mapping[ir.Node, ir.Node]
Markers = Mapping[tuple[str, int], ir.Node]
# Lines about nested solves, one for each, by the mark of the solve around them.
Notes = Mapping[int, tuple[str, ...]]


def lift(captured: Captured, nested: Notes = MappingProxyType({})) -> list[Hole]:
    """The holes of a captured graph, in the order of the solves. nested: lines about nested solves, filled already.

    Nodes that depend on a marker's t or y become the field; all other nodes stay in the host, where they are computed
    once. Raises CaptureError where a value computed inside a field is used outside it.
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
    """The hole of one solve. The solve's functions must hold no other marked solve any more."""
    return replace(_hole(graph, spec, _markers(graph), owners_in(graph)), nested=nested)


def _markers(graph: ir.Graph) -> Markers:
    return {(node.op_type, node.attributes["solve"].as_int()): node for node in graph if node.domain == DOMAIN}


def owners_in(graph: ir.Graph) -> Owners:
    """The node of the main graph in which each node of a subgraph lies, by the inner node."""
    return {inner: node for node in graph for body in bodies(node) for inner in body.all_nodes()}


def _hole(graph: ir.Graph, spec: SolveSpec, markers: Markers, owners: Owners) -> Hole:
    end = markers["End", spec.mark]
    end_inputs = end_inputs_of(spec, _values(end.inputs))
    y0, t, results = end_inputs.y0, end_inputs.t, end_inputs.results
    begins = {name: markers.get((marker_of(name), spec.mark)) or _unused_marker(y0) for name in results}
    for begin in begins.values():
        _hoist_shapes(begin.outputs[1:], _values(begin.inputs))
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
    hole = Hole(spec, regions, t, constant_of(t), y0, outputs[: spec.parts], event_time, end_inputs.extras)
    return with_lengths(graph, hole)


def _region(
    graph: ir.Graph,
    spec: SolveSpec,
    begin: ir.Node,
    end: ir.Node,
    inside: set[ir.Node],
    results: Sequence[ir.Value],
    owners: Owners,
) -> Region:
    """The region between a Begin marker and the results of its function. inside: the nodes that depend on the marker.

    Raises CaptureError where a node of the function is used outside it.
    """
    members = ancestors(results, inside)
    for node in inside - members:
        _check_closed(spec, node, end, owners)
    nodes = [node for node in graph if node in members]
    inner = {output for node in nodes for output in node.outputs} | set(begin.outputs)
    read = [value for node in nodes for value in read_by(node)]
    captured = dict.fromkeys(value for value in [*read, *results] if value not in inner)
    return Region(nodes, list(begin.outputs), results, list(captured))


def _unused_marker(y0: Sequence[ir.Value]) -> ir.Node:
    """A stand-in for the Begin marker of a function that reads neither t nor y: torch dropped the marker as unused."""
    marker = ir.Node(DOMAIN, "Begin", y0, num_outputs=1 + len(y0))
    for output, like in zip(marker.outputs, [y0[0], *y0], strict=True):
        output.type, output.shape = like.type, like.shape
    marker.outputs[0].shape = ir.Shape([])
    return marker


def _values(values: Sequence[ir.Value | None]) -> list[ir.Value]:
    return [value for value in values if value is not None]


def _hoist_shapes(marks: Sequence[ir.Value], given: Sequence[ir.Value]) -> None:
    """Take the shape of the state from the initial state, so that nodes that depend on the shape stay outside the
    field. given: the inputs of the marker, of which the first stand for its outputs after the time."""
    for mark, initial in zip(marks, given, strict=False):
        for use in list(mark.uses()):
            if use.node.op_type == "Shape" and use.node.domain == "":
                use.node.replace_input_with(use.idx, initial)


def dependents(values: Sequence[ir.Value], end: ir.Node, owners: Owners) -> set[ir.Node]:
    """The nodes of the main graph that depend on the values, without those that do so through `end` alone."""
    reached: set[ir.Node] = set()
    waiting = list(values)
    while waiting:
        for node in {use.node for use in waiting.pop().uses()}:
            outer = owners.get(node, node)
            if outer is not end and outer not in reached:
                reached.add(outer)
                waiting.extend(outer.outputs)
    return reached


def ancestors(values: Sequence[ir.Value], within: set[ir.Node]) -> set[ir.Node]:
    """The nodes of a set that compute the values."""
    needed: set[ir.Node] = set()
    waiting = list(values)
    while waiting:
        node = waiting.pop().producer()
        if node is not None and node in within and node not in needed:
            needed.add(node)
            waiting.extend(read_by(node))
    return needed


def time_inputs(captured: Captured) -> set[str]:
    """The names of the model's inputs from which the output times of some solve are computed."""
    graph = captured.model.graph
    waiting = [node.inputs[-1] for node in graph if node.domain == DOMAIN and node.op_type == "End"]
    reached: set[ir.Value] = set()
    while waiting:
        value = waiting.pop()
        if value is None or value in reached:
            continue
        reached.add(value)
        node = value.producer()
        if node is not None and node.op_type not in ("Shape", "Size") and node.domain != DOMAIN:
            waiting.extend(read_by(node))
    return {str(value.name) for value in graph.inputs if value in reached}


def _check_closed(spec: SolveSpec, node: ir.Node, end: ir.Node, owners: Owners) -> None:
    """Raise CaptureError for a node of a field whose value is used outside; a node without use is removed later."""
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
