"""The search for a copy of each solve's field in finished graphs. The law here: values are compared as objects, and
their names are read last, when no pass changes them any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from odelet.artifact.field_card import FieldCard
from odelet.artifact.solve_card import DriveCard
from odelet_export.lowering.hole import Hole


def field_card(
    hole: Hole, solution: Sequence[ir.Value], drive: DriveCard | None, graphs: Mapping[str, ir.Model]
) -> FieldCard | None:
    """The card entry of the first copy of a solve's field that no pass changed, or None where there is none.

    solution: the parts of the solution in the host; none where the solve is driven. There is no entry either where a
    chain of field evaluations cannot stand for the solve: for a solve that ends at an event, whose result is another,
    for a solve in which each batch row has its own steps, and for an SDE, whose steps also evaluate its diffusion.
    """
    if hole.spec.until_event or hole.spec.own_times or hole.spec.sde is not None:
        return None
    for file in graphs if drive is None else (file for file in (drive.field, drive.step) if file is not None):
        names = _names(graphs[file].graph)
        times: int | str | None = None
        y0: tuple[str, ...] = ()
        divided = drive is None and len(graphs) > 1
        if divided and not hole.spec.timeless:
            times = hole.count if hole.count is not None else hole.t.name
        elif drive is None:
            if any(value not in names for value in hole.y0):
                continue
            if not hole.spec.timeless:
                times = hole.count if hole.count is not None else names.get(hole.t)
            y0 = tuple(names[value] for value in hole.y0)
        for copy in hole.field.copies:
            if all(value is None or value in names for value in [*copy.inputs, *copy.results]):
                t, *y = [None if value is None else names[value] for value in copy.inputs]
                k = tuple(names[value] for value in copy.results)
                ends = tuple(names.get(value) for value in solution) if y0 else ()
                return FieldCard(graph=file, t=t, y=tuple(y), k=k, times=times, y0=y0, solution=ends)
    return None


def _names(graph: ir.Graph) -> dict[ir.Value, str]:
    """All values of a graph, those of subgraphs included, with their names."""
    values = [*graph.inputs, *graph.initializers.values()]
    for inner in graph.subgraphs():
        values += [*inner.inputs, *inner.initializers.values()]
    values += [output for node in graph.all_nodes() for output in node.outputs]
    return {value: value.name for value in values if value.name}
