"""What the two fixed-step forms share: the grid, reading the output times off it, and the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.backend import NUMPY
from odelet.dense import linear
from odelet.rk import erk_step
from odelet_export.emit import ONNX
from odelet_export.forms.site import NOT_FINITE, OK, Lowered, Site, not_finite
from odelet_export.scope import Value


def grid_points(site: Site) -> np.ndarray | Value:
    """The time grid (steps + 1,), constant where the times are."""
    grid = site.hole.spec.grid
    assert grid is not None
    if isinstance(site.t, Value):
        return grid.points(site.t, direction=ONNX.cast(site.direction, site.t), xp=ONNX)
    return grid.points(site.t, direction=site.t.dtype.type(site.direction), xp=NUMPY)


def known_steps(site: Site) -> int | None:
    """How many steps the solve takes, where that is known at export."""
    if site.event is not None:
        return None
    grid = site.hole.spec.grid
    assert grid is not None
    points = grid_points(site) if not isinstance(site.t, Value) else None
    if isinstance(points, np.ndarray):
        return len(points) - 1
    if grid.steps is not None:
        return grid.steps
    return site.count - 1 if grid.at_outputs and site.count is not None else None


def step(site: Site, t: Any, t1: Any, y: Value) -> Value:
    """One step of the method from t to t1."""
    y1, _ = erk_step(site.field, site.hole.spec.tableau, t, t1, y, t1 - t, None, xp=ONNX)
    return y1


def only_the_end(site: Site) -> bool:
    """Whether the state is wanted at no time but the first and the last."""
    return site.count is not None and site.count <= 2


def read(site: Site, grid: np.ndarray | Value, states: Value) -> Value:
    """The states (times, n) at the output times, from those on the grid (steps + 1, n)."""
    settings = site.hole.spec.grid
    assert settings is not None
    if settings.at_outputs:
        return states
    scope = site.scope
    points = grid if isinstance(grid, Value) else scope.constant(grid)
    times = site.t if isinstance(site.t, Value) else scope.constant(site.t)
    forward = ONNX.cast(site.direction, times)
    later = times[1:]
    targets = ONNX.reshape(later * forward, (-1, 1))
    before = ONNX.reshape(points[1:] * forward, (1, -1)) < targets
    index = scope.call(
        "ReduceSum",
        scope.call("Cast", before, to=ir.DataType.INT64),
        scope.constant(np.array([1], np.int64)),
        keepdims=0,
    )
    # Times that are not monotone may lie outside the grid; what is read for them does not matter.
    after = ONNX.minimum(index + 1, ONNX.reshape(scope.call("Shape", points), ()) - 1)
    index = after - 1
    start, end = points[index], points[after]
    x = ONNX.reshape(ONNX.cast((later - start) / (end - start), states), (-1, 1))
    return ONNX.concat([states[:1], linear(x, states[index], states[after])], axis=0)


def finish(site: Site, rows: Value, steps: int | None, taken: Value | None) -> Lowered:
    """The parts of the solution, and a report. rows: (times, n). taken: the number of steps, if not fixed."""
    scope = site.scope
    first, last = (scope.call("Cast", site.scalar(site.time(j), None), to=ir.DataType.DOUBLE) for j in (0, -1))
    if only_the_end(site):
        bad = not_finite(rows)
        time = ONNX.where(bad, first, last)
    else:
        sums = scope.call("ReduceSum", rows * 0.0, scope.constant(np.array([1], np.int64)), keepdims=0)
        wrong = scope.call("Cast", scope.call("IsNaN", sums), to=ir.DataType.INT64)
        bad = scope.call("ReduceMax", wrong, keepdims=0) > 0
        good = ONNX.maximum(scope.call("ArgMax", wrong, axis=0, keepdims=0) - 1, 0)
        times = site.t if isinstance(site.t, Value) else scope.constant(site.t)
        time = ONNX.where(bad, scope.call("Cast", times[good], to=ir.DataType.DOUBLE), last)
    status = site.checked(ONNX.where(bad, NOT_FINITE, scope.constant(OK, np.int64)))
    report = {"status": status, "time": time}
    if taken is not None:
        report["steps"] = taken
    return Lowered(site.solution(rows), report, steps)
