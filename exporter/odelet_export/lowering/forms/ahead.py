"""What a field computes without the state, for all steps of a grid that the export knows, in one call before the steps.

A layer of a time embedding has one row in each call of the field, for which a product only reads its weights. For all
calls together, the weights are read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.numerics.backend import NUMPY
from odelet.numerics.rk import Field as RowField
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.mapped import mapped_values
from odelet_export.graphs.nodes import read_by
from odelet_export.graphs.rewrite.shapes import row_elements
from odelet_export.graphs.scope import Value
from odelet_export.lowering.forms.fixed import step_settings
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.region import Region

_PRODUCTS = ("Gemm", "MatMul")
# So many elements for each batch row may be computed ahead in any case: 16 kB in float32.
ALWAYS = 4096


@dataclass(frozen=True)
class Ahead:
    """The values of a field that were computed ahead, (evaluations, *shape) each.

    region: the rest of the field, which reads them. rows: the values, by what they stand for in the field. in_step: the
    number of evaluations in a step.
    """

    site: Site
    region: Region
    rows: dict[ir.Value, Value]
    in_step: int

    def field(self, i: Any) -> RowField:
        """The field as the step of an index calls it, an evaluation after the other."""
        site, numbers = self.site, count()

        def evaluate(t: Any, row: Value) -> Value:
            index = i * self.in_step + next(numbers)
            outside = {value: _noted(rows[index], value) for value, rows in self.rows.items()}
            slope: Value = site.layout.pack(self.region.call(site.scope, site.layout, outside, t, row), xp=ONNX)
            return slope

        return evaluate


def _noted(row: Value, like: ir.Value) -> ir.Value:
    row.ir.type, row.ir.shape = like.type, like.shape
    return row.ir


def computed_ahead(site: Site, grid: np.ndarray | Value) -> Ahead | None:
    """What can be computed ahead, and the rest of the field; None where it would save nothing.

    grid: the times (steps + 1,) of the steps. Values for all evaluations take memory: more than ALWAYS are computed
    only where one evaluation of the rest computes as many.
    """
    field = site.hole.field
    if not site.ahead or not isinstance(grid, np.ndarray) or Value(field.inputs[0], site.scope).dims != []:
        return None
    times = _evaluation_times(site, grid)
    if times is None or len(times) < 2:
        return None
    kept = _without_state(field)
    if not any(node.op_type in _PRODUCTS for node in kept):
        return None
    like = Value(field.inputs[0], site.scope)
    time = {field.inputs[0]: site.scope.constant(times, like.dtype)}
    rows = mapped_values(kept, time, field.captured, site.scope, size=len(times))
    early = _after_products(kept, rows)
    late = [node for node in field.nodes if node not in early]
    made = {output for node in early for output in node.outputs}
    read = dict.fromkeys(value for node in late for value in read_by(node))
    wanted = [value for value in dict.fromkeys([*read, *field.results]) if value in made]
    if not wanted or len(times) * sum(map(row_elements, wanted)) > max(_written(late), ALWAYS):
        return None
    # The results of the field count as its own, also where they do not depend on the state.
    inner = {output for node in late for output in node.outputs} | set(field.inputs)
    captured = [value for value in dict.fromkeys([*read, *field.results]) if value not in inner]
    region = replace(field, nodes=late, captured=captured)
    return Ahead(site, region, {value: rows[value] for value in wanted}, len(times) // (len(grid) - 1))


def _evaluation_times(site: Site, grid: np.ndarray) -> np.ndarray | None:
    """The times (steps * evaluations in a step,) at which the steps call the field; None where they are not known."""
    spec = site.hole.spec
    solver = spec.solver
    if solver.stochastic or solver.iterates or solver.remembers or solver.evaluations is None or len(grid) < 2:
        return None
    times: list[Any] = []

    def noting(t: Any, row: np.ndarray) -> np.ndarray:
        times.append(t)
        return row * 0

    y = np.zeros((1, 1), site.y0.dtype)
    for t, t1 in pairwise(grid):
        solver.step(noting, t, t1, y, (), step_settings(site), xp=NUMPY)
    return np.array(times) if len(times) == solver.evaluations * (len(grid) - 1) else None


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
        if node.op_type in _PRODUCTS or (not grows and not values.isdisjoint(read_by(node))):
            found.add(node)
            values.update(node.outputs)
    return found


def _written(nodes: Sequence[ir.Node]) -> int:
    return sum(row_elements(output) for node in nodes for output in node.outputs)
