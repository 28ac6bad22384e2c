"""What a field computes without the state, for many evaluations in one call: for all steps of a grid whose number of
steps is known, and else for the stages of a step.

A layer of a time embedding has one row in each call of the field, for which a product only reads its weights. For many
calls together, the weights are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.numerics.adaptive_step import attempt_times
from odelet.numerics.backend import NUMPY, Backend
from odelet.numerics.rk import Field as RowField
from odelet.numerics.state import Layout
from odelet.numerics.tableau import Tableau
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.mapped import mapped_values
from odelet_export.graphs.nodes import PRODUCTS, read_by
from odelet_export.graphs.rewrite.shapes import dims_of, row_elements
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms.fixed import step_settings
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.region import Region

# So many elements for each batch row may be computed ahead in any case, 16 kB in float32; and so many of values whose
# sizes are fixed, 1 MB.
ALWAYS, ALWAYS_FIXED = 4096, 2**18


@dataclass(frozen=True)
class Called:
    """The field of a solve, as its graph calls it: the arguments of `Region.call` that are the same for all calls."""

    region: Region
    scope: Scope
    layout: Layout
    outside: Mapping[ir.Value, ir.Value]

    @classmethod
    def at(cls, site: Site) -> Called:
        """The field of a site, which reads values of the host as they are."""
        return cls(site.hole.field, site.scope, site.layout, {})

    def call(self, t: Any, row: Value) -> Value:
        """The slope, a row. t: a scalar. row: the state."""
        slope: Value = self.layout.pack(self.region.call(self.scope, self.layout, self.outside, t, row), xp=ONNX)
        return slope


@dataclass(frozen=True)
class Ahead:
    """The values of a field that were computed ahead, (evaluations, *shape) each, by what they stand for in the field.
    rest: the rest of the field, which reads them."""

    rest: Called
    rows: Mapping[ir.Value, Value]

    def field(self, first: Any = 0) -> RowField:
        """The field, as it is called for one evaluation after the other. first: the index of the first evaluation."""
        numbers = count()

        def evaluate(t: Any, row: Value) -> Value:
            index = first + next(numbers)
            values = {value: _noted(rows[index], value) for value, rows in self.rows.items()}
            return replace(self.rest, outside={**self.rest.outside, **values}).call(t, row)

        return evaluate


def _noted(row: Value, like: ir.Value) -> ir.Value:
    row.ir.type, row.ir.shape = like.type, like.shape
    return row.ir


def of_grid(site: Site, grid: np.ndarray | Value, steps: int | None) -> Callable[[Any, Any, Any], RowField | None]:
    """How the steps of a grid call the field: a function of the index of a step, its start and its end that returns
    what stands for the field in that step, or None for the field itself.

    grid: the times (steps + 1,). steps: their number, where it is known.
    """
    solver, settings = site.hole.spec.solver, step_settings(site)
    calls = solver.evaluations
    if not site.ahead or calls is None:
        return lambda i, t, t1: None

    def times(t: Any, t1: Any, xp: Backend) -> list[Any] | None:
        return solver.times(t, t1, site.y0, settings, xp=xp)

    if steps is None:
        return lambda i, t, t1: of_step(site, t, t1)
    xp: Backend = ONNX if isinstance(grid, Value) else NUMPY
    stages = times(grid[:-1], grid[1:], xp) if steps else None
    if stages is None:
        return lambda i, t, t1: None
    columns = xp.concat([xp.reshape(some, (-1, 1)) for some in stages], axis=1)
    ahead = ahead_of(Called.at(site), xp.reshape(columns, (-1,)), steps * len(stages))
    return lambda i, t, t1: None if ahead is None else ahead.field(i * calls)


def of_step(site: Site, t: Value, t1: Value) -> RowField | None:
    """What stands for the field in a fixed step, or None for the field itself. t, t1: its start and its end."""
    if not site.ahead:
        return None
    times = site.hole.spec.solver.times(t, t1, site.y0, step_settings(site), xp=ONNX)
    return of_stages(Called.at(site), times)


def of_attempt(
    field: Called, tableau: Tableau, t: Value, t1: Value, h: Value, y: Value, *, direction: Any
) -> RowField | None:
    """What stands for a field in an attempted step, or None for the field itself. The arguments are those of
    `attempt`."""
    return of_stages(field, attempt_times(tableau, t, t1, h, y, direction=direction, xp=ONNX)[1:])


def of_stages(field: Called, times: Sequence[Value] | None) -> RowField | None:
    """What stands for a field in a step, or None for the field itself. times: of the evaluations, scalars."""
    if times is None:
        return None
    distinct = {time.ir: time for time in times}
    column = ONNX.concat([ONNX.reshape(time, (1,)) for time in distinct.values()], axis=0)
    ahead = ahead_of(field, column, len(distinct))
    if ahead is None:
        return None
    places = list(distinct)
    fields = iter([ahead.field(places.index(time.ir)) for time in times])
    return lambda t, row: next(fields)(t, row)


def ahead_of(field: Called, times: np.ndarray | Value, evaluations: int) -> Ahead | None:
    """What can be computed ahead, and the rest of a field; None where it would save nothing.

    times: of the evaluations, (evaluations,). Values for all evaluations take memory: more than ALWAYS and ALWAYS_FIXED
    are computed only where one evaluation of the rest computes as many.
    """
    region = field.region
    like = Value(region.inputs[0], field.scope)
    kept = _without_state(region)
    if evaluations < 2 or like.dims != [] or not any(node.op_type in PRODUCTS for node in kept):
        return None
    column = ONNX.cast(times, like) if isinstance(times, Value) else field.scope.constant(times, like.dtype)
    outside = {value: field.outside.get(value, value) for value in region.captured}
    rows = mapped_values(kept, {region.inputs[0]: column}, outside, column.scope, size=evaluations)
    early = _after_products(kept, rows)
    late = [node for node in region.nodes if node not in early]
    made = {output for node in early for output in node.outputs}
    read = dict.fromkeys(value for node in late for value in read_by(node))
    wanted = [value for value in dict.fromkeys([*read, *region.results]) if value in made]
    if not wanted or not _fits(wanted, evaluations, late):
        return None
    # The results of the field count as its own, also where they do not depend on the state.
    inner = {output for node in late for output in node.outputs} | set(region.inputs)
    captured = [value for value in dict.fromkeys([*read, *region.results]) if value not in inner]
    rest = replace(field, region=replace(region, nodes=late, captured=captured))
    return Ahead(rest, {value: rows[value] for value in wanted})


def _without_state(field: Region) -> list[ir.Node]:
    """The nodes of a field that depend on its time and not on the state."""
    reached = set(field.inputs[1:])
    nodes = []
    for node in field.nodes:
        if reached.isdisjoint(read_by(node)):
            nodes.append(node)
        else:
            reached.update(node.outputs)
    return nodes


def _after_products(nodes: Sequence[ir.Node], mapped: dict[ir.Value, Value]) -> set[ir.Node]:
    """The mapped nodes that are products or read what one computed. What precedes every product is cheap, and an
    expansion is better made where it is read."""
    found: set[ir.Node] = set()
    values: set[ir.Value] = set()
    for node in nodes:
        if any(output not in mapped for output in node.outputs):
            continue
        first = node.inputs[0] if node.inputs else None
        grows = node.op_type == "Expand" and first is not None and row_elements(node.outputs[0]) > row_elements(first)
        if node.op_type in PRODUCTS or (not grows and not values.isdisjoint(read_by(node))):
            found.add(node)
            values.update(node.outputs)
    return found


def _fits(wanted: Sequence[ir.Value], evaluations: int, late: Sequence[ir.Node]) -> bool:
    """Whether the values of all evaluations take little memory, or no more than one evaluation of the rest computes."""
    of_rest = _written(late)
    fixed = [value for value in wanted if None not in (dims_of(value) or [None])]
    varying = [value for value in wanted if value not in fixed]
    return all(
        evaluations * sum(map(row_elements, values)) <= max(of_rest, limit)
        for values, limit in ((fixed, ALWAYS_FIXED), (varying, ALWAYS))
    )


def _written(nodes: Sequence[ir.Node]) -> int:
    return sum(row_elements(output) for node in nodes for output in node.outputs)
