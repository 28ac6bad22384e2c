"""Cuts a host graph at its holes into segments, which run before, between and after the driven solves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir import convenience

from odelet_export.graphs.nodes import DOMAIN, read_by
from odelet_export.lowering.forms.driven import RESERVED
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.lift import ancestors


@dataclass(frozen=True)
class Cut:
    """A host graph in segments. segments: one graph for each level, None where a level computes nothing. order: for
    each level, the holes that are solved after its segment."""

    segments: Sequence[ir.Graph | None]
    order: Sequence[Sequence[Hole]]


def cut(graph: ir.Graph, holes: Sequence[Hole], captured: Mapping[int, Sequence[ir.Value]]) -> Cut:
    """Cut a host graph into segments.

    captured: the values of the host besides t, y0 and the extras that a solve's graphs read, by index of the solve. The
    level of a node is the number of solves, one after the other, that must come before it.
    """
    levels: dict[ir.Value, int] = {value: 0 for value in graph.inputs}
    needs = {h.spec.index: [*h.y0, *h.extras.values(), *captured[h.spec.index]] for h in holes}
    for hole in holes:
        needs[hole.spec.index] += [] if hole.spec.timeless else [hole.t]
    by_solution = {value: hole for hole in holes for value in hole.results}
    inside = {node for hole in holes for region in hole.regions.values() for node in region.nodes}
    nodes = [node for node in graph if node.domain != DOMAIN and node not in inside]
    node_level: dict[ir.Node, int] = {}

    def level_of(value: ir.Value) -> int:
        hole = by_solution.get(value)
        if hole is not None and value not in levels:
            levels[value] = 1 + max(level_of(need) for need in needs[hole.spec.index])
        return levels.get(value, 0)

    for node in nodes:
        node_level[node] = max((level_of(value) for value in read_by(node)), default=0)
        levels.update(dict.fromkeys(node.outputs, node_level[node]))
    after = {hole.spec.index: max(level_of(need) for need in needs[hole.spec.index]) for hole in holes}
    wanted = [*graph.outputs, *(value for need in needs.values() for value in need)]
    needed = ancestors(wanted, set(nodes))
    last = max([*after.values(), *(node_level[node] for node in needed), 0])
    segments = []
    for level in range(last + 1):
        members = [node for node in nodes if node in needed and node_level[node] == level]
        others = {value for node in needed if node_level[node] != level for value in read_by(node)}
        constants = [value for value in wanted if level == 0 and value in graph.initializers.values()]
        segments.append(_segment(graph, members, {*wanted, *others}, constants, f"segment_{level}"))
    order = [[hole for hole in holes if after[hole.spec.index] == level] for level in range(last + 1)]
    return Cut(segments, order)


def _segment(
    graph: ir.Graph, nodes: Sequence[ir.Node], wanted: set[ir.Value], constants: Sequence[ir.Value], name: str
) -> ir.Graph | None:
    """A graph of its own for some nodes, or None where it would have no output.

    wanted: values that other segments, solves or the model's outputs need. constants: stored values that solves need.
    """
    inner = {output for node in nodes for output in node.outputs}
    outputs = [value for node in nodes for value in node.outputs if value in wanted]
    read = dict.fromkeys(value for node in nodes for value in read_by(node) if value not in inner)
    stored = [value for value in read if _is_stored(value)]
    inputs = [value for value in read if not _is_stored(value)]
    if not outputs and not constants:
        return None
    view = ir.GraphView(inputs, outputs, nodes=nodes, initializers=stored, opset_imports=graph.opset_imports, name=name)
    segment = view.clone()
    # The runtime looks up by name the values that a solve reads, constants too, so a graph must return them.
    for value in dict.fromkeys(constants):
        assert value.const_value is not None and value.name is not None
        copy = ir.Value(name=f"{value.name}.stored", type=value.type, shape=value.shape, const_value=value.const_value)
        segment.register_initializer(copy)
        output = ir.Value(name=value.name, type=value.type, shape=value.shape)
        segment.append(ir.Node("", "Identity", [copy], outputs=[output]))
        segment.outputs.append(output)
    return segment


def _is_stored(value: ir.Value) -> bool:
    return value.const_value is not None and not value.is_graph_input() and value.producer() is None


def rename_crossing_values(graph: ir.Graph, holes: Sequence[Hole]) -> None:
    """Rename the host's values that the graphs of solves read, where a graph of a solve uses the name for its own.

    A graph input keeps its name, so it is copied. `Region.captured` follows, in place.
    """
    regions = [region for hole in holes for region in hole.regions.values()]
    values = [value for region in regions for value in region.captured]
    for value in values:
        if _clashes(value) and not value.is_graph_input():
            value.name = f"host.{value.name}"
    for value in dict.fromkeys(value for value in values if value.is_graph_input() and _clashes(value)):
        copy = ir.Value(name=f"host.{value.name}", type=value.type, shape=value.shape)
        convenience.replace_all_uses_with(value, copy)
        graph.append(ir.Node("", "Identity", [value], outputs=[copy]))
        for region in regions:
            region.captured[:] = [copy if v is value else v for v in region.captured]
    graph.sort()


def _clashes(value: ir.Value) -> bool:
    return value.name in RESERVED or str(value.name).startswith("shape.")
