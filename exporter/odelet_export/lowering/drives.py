"""Puts a node in place of each solve that the runtime drives: it reads what the solve reads and makes its results.

The law here: the names of what such a node reads and makes are those in the solve's entry of the card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir import convenience

from odelet_export.graphs.nodes import DOMAIN
from odelet_export.lowering.cut_nodes import DRIVE
from odelet_export.lowering.forms.driven import RESERVED
from odelet_export.lowering.hole import Hole


def place_drives(graph: ir.Graph, holes: Sequence[Hole], captured: Mapping[int, Sequence[ir.Value]]) -> None:
    """Put a node in place of each hole.

    captured: the values of the host besides t, y0 and the extras that a solve's graphs read, by index of the solve.
    """
    made: dict[ir.Value, ir.Value] = {}
    for hole in holes:
        solve = hole.spec.index
        times = [] if hole.spec.timeless else [hole.t]
        needs = dict.fromkeys([*hole.y0, *hole.extras.values(), *captured[solve], *times])
        results = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in hole.results]
        reads = [made.get(value, value) for value in needs]
        node = ir.Node(DOMAIN, DRIVE, reads, [ir.AttrInt64("solve", solve)], outputs=results)
        end = hole.results[0].producer()
        assert end is not None
        graph.insert_after(end, [node])
        for stand_in, result in zip(hole.results, results, strict=True):
            convenience.replace_all_uses_with(stand_in, result, replace_graph_outputs=True)
            made[stand_in] = result
    graph.sort()


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
