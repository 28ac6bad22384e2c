"""Lift: from a graph with marked solves to a host graph with holes, each hole with its Field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from odelet_export.capture import DOMAIN, Captured
from odelet_export.errors import CaptureError
from odelet_export.field import Field
from odelet_export.spec import SolveSpec


@dataclass(frozen=True)
class Hole:
    """A solve of the host graph, waiting for a solver.

    t: the output times, a value of the host, and `times` their constant, if they are. y0: the parts of the initial
    state. solution: what stands for the results, (times, *shape) each, until they are replaced. grid: that of a
    fixed-step solve, where the model constructs it.
    """

    spec: SolveSpec
    field: Field
    t: ir.Value
    times: np.ndarray | None
    y0: Sequence[ir.Value]
    solution: Sequence[ir.Value]
    grid: ir.Value | None = None

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


def lift(captured: Captured) -> list[Hole]:
    """Find the holes, in the order of the solves.

    Nodes that depend on a marker's t or y become the field; everything else stays in the host, where it
    is computed once. Raises CaptureError when something computed inside a field is used outside it.
    """
    graph = captured.model.graph
    markers = {(node.op_type, node.attributes["solve"].as_int()): node for node in graph if node.domain == DOMAIN}
    owners = {inner: node for node in graph for body in _bodies(node) for inner in body.all_nodes()}
    return [
        _hole(graph, spec, markers.get(("Begin", spec.call)), markers["End", spec.call], owners)
        for spec in captured.specs
    ]


# Nodes inside the subgraphs of a node of the main graph, with that node.
Owners = Mapping[ir.Node, ir.Node]


def _hole(graph: ir.Graph, spec: SolveSpec, begin: ir.Node | None, end: ir.Node, owners: Owners) -> Hole:
    inputs = _values(end.inputs)
    slopes, y0, t = inputs[: spec.parts], inputs[spec.parts : 2 * spec.parts], inputs[-1]
    grid = inputs[2 * spec.parts] if spec.grid is not None and spec.grid.constructed else None
    if begin is None:  # a field of neither t nor y: its marker led nowhere and was dropped
        begin = ir.Node(DOMAIN, "Begin", [*y0, t], num_outputs=1 + len(y0))
    t_mark, *y_marks = begin.outputs
    _hoist_shapes(y_marks, y0)
    inside = _dependents(begin, end, owners)
    region = ancestors(slopes, inside)
    for node in inside - region:
        _check_closed(spec, node, end, owners)
    nodes = [node for node in graph if node in region]
    made = {output for node in nodes for output in node.outputs} | set(begin.outputs)
    read = [value for node in nodes for value in read_by(node)]
    captured = dict.fromkeys(value for value in [*read, *slopes] if value not in made)
    field = Field(nodes, t_mark, y_marks, slopes, list(captured))
    return Hole(spec, field, t, _constant(t), y0, list(end.outputs), grid)


def _bodies(node: ir.Node) -> list[ir.Graph]:
    return [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]


def _values(values: Sequence[ir.Value | None]) -> list[ir.Value]:
    return [value for value in values if value is not None]


def _hoist_shapes(marks: Sequence[ir.Value], y0: Sequence[ir.Value]) -> None:
    """Read the state's shape off the initial state, so that what follows from it stays outside the field."""
    for mark, initial in zip(marks, y0, strict=True):
        for use in list(mark.uses()):
            if use.node.op_type == "Shape" and use.node.domain == "":
                use.node.replace_input_with(use.idx, initial)


def read_by(node: ir.Node) -> list[ir.Value]:
    """The values that a node reads from outside itself, those of its subgraphs included."""
    read = _values(node.inputs)
    for body in _bodies(node):
        made = {output for inner in body.all_nodes() for output in inner.outputs} | set(body.inputs)
        made |= set(body.initializers.values())
        nested = [value for inner in body.all_nodes() for value in _values(inner.inputs)]
        read += [value for value in [*nested, *body.outputs] if value not in made]
    return read


def _dependents(begin: ir.Node, end: ir.Node, owners: Owners) -> set[ir.Node]:
    """The nodes that depend on the outputs of `begin`, not passing through `end`."""
    found: set[ir.Node] = set()
    waiting = list(begin.outputs)
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
