"""What the two fixed-step forms share: the grid, reading the output times off it, and the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.methods.method import FixedStep, StepSettings
from odelet.numerics.backend import NUMPY
from odelet.numerics.grid import Grid, is_valid_grid
from odelet.numerics.interpolation import hermite, linear
from odelet_export.errors import FormError
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Value, deepest
from odelet_export.lowering.forms.form import LoweredSolve
from odelet_export.lowering.forms.site import BAD_TIMES, NOT_FINITE, OK, Site, not_finite


@dataclass(frozen=True)
class FixedSteps:
    """What a march leaves: states and slopes (at the start of each step, where cubics need them) on the grid,
    stacked; calls of the field, None where they follow
    from the method and the steps; steps whose iteration failed, None for a method that iterates nothing."""

    states: Value
    slopes: Value | None
    calls: int | Value | None
    failures: Value | None


def grid_of(site: Site) -> Grid:
    """How a fixed-step solve places its steps."""
    grid = site.hole.spec.grid
    assert grid is not None
    return grid


def grid_points(site: Site) -> np.ndarray | Value:
    """The time grid (steps + 1,), constant where it is known. Raises FormError for one that does not fit."""
    grid, hole = grid_of(site), site.hole
    given: Any = hole.grid_points if hole.grid_points is not None else None
    if hole.grid is not None and given is None:
        given = Value(hole.grid, site.scope)
    if isinstance(site.t, Value):
        return grid.points(site.t, direction=ONNX.cast(site.direction, site.t), xp=ONNX, constructed_points=given)
    direction = site.t.dtype.type(site.direction)
    if isinstance(given, np.ndarray) and not is_valid_grid(
        given, site.t, direction=direction, strict=site.hole.spec.solver.remembers, xp=NUMPY
    ):
        raise FormError(
            f"the solve at {hole.spec.source} has a grid that does not run from its first output time to its "
            f"last: {given}; its times are {site.t}"
        )
    return grid.points(site.t, direction=direction, xp=NUMPY, constructed_points=given)


def known_steps(site: Site) -> int | None:
    """How many steps the solve takes, where that is known at export."""
    if site.event is not None:
        return None
    grid = grid_of(site)
    if site.hole.grid is not None:
        size = site.hole.grid.shape[0] if site.hole.grid.shape is not None else None
        return size - 1 if isinstance(size, int) else None
    points = grid_points(site) if not isinstance(site.t, Value) else None
    if isinstance(points, np.ndarray):
        return len(points) - 1
    if grid.steps is not None:
        return grid.steps
    return site.count - 1 if grid.at_outputs and site.count is not None else None


def step(site: Site, t: Any, t1: Any, y: Value, memory: tuple[Any, ...]) -> FixedStep:
    """One step of the method from t to t1."""
    spec = site.hole.spec
    terms = StepSettings(direction=site.direction, perturb=grid_of(site).perturb, **spec.corrector)
    return spec.solver.step(site.field, t, t1, y, memory, terms, xp=ONNX)


def only_the_end(site: Site) -> bool:
    """Whether the state is wanted at no time but the first and the last."""
    if site.count == 2:  # the last time is the end of the last step, where a cubic says what is known
        return not grid_of(site).reads_cubics
    return site.count == 1


def read(
    site: Site,
    grid: np.ndarray | Value,
    path: FixedSteps,
    each: Callable[[Callable[[Value], Value], Value, Value], Value],
) -> Value:
    """The states (times, n) at the output times, from those on the grid (steps + 1, n).

    each: (read, x, y0) calls `read` on every index of later times, and stacks the rows.
    """
    settings = grid_of(site)
    if settings.at_outputs:
        return path.states
    scope, states = site.scope, path.states
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
    x = ONNX.cast((later - start) / (end - start), states)
    if not settings.reads_cubics:
        rows = linear(ONNX.reshape(x, (-1, 1)), states[index], states[after])
        return ONNX.concat([states[:1], rows], axis=0)
    h, slopes = ONNX.cast(end - start, states), path.slopes
    assert slopes is not None

    def one(j: Value) -> Value:
        """The row of a later time."""
        at, to = index[j], after[j]
        y0, y1, k0 = (ONNX.reshape(value, (1, -1)) for value in (states[at], states[to], slopes[at]))
        y0, y1, k0 = (_shaped(value, site.y0) for value in (y0, y1, k0))
        return hermite(x[j], h[j], y0, y1, k0, site.field(end[j], y1))

    return each(one, later, states[:1])


def _shaped(row: Value, like: Value) -> Value:
    """A row with the length that the state is known to have."""
    row.ir.shape = like.ir.shape
    return row


def finish(
    site: Site, rows: Value, path: FixedSteps, *, steps: int | None, taken: Value | None, grid: Any
) -> LoweredSolve:
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
    if grid_of(site).constructed and isinstance(grid, Value):
        times = site.t if isinstance(site.t, Value) else scope.constant(site.t)
        direction = ONNX.cast(site.direction, times)
        good = is_valid_grid(grid, times, direction=direction, strict=site.hole.spec.solver.remembers, xp=ONNX)
        status = ONNX.where(good, status, BAD_TIMES)
    report = {"status": status, "time": time}
    if taken is not None:
        report["steps"] = taken
    if path.failures is not None:
        report["unconverged"] = path.failures
    if isinstance(path.calls, Value):
        report["evaluations"] = path.calls
    known = None if isinstance(path.calls, Value) else path.calls
    return LoweredSolve(solution=site.solution(rows), report=report, steps=steps, evaluations=known)


def whole(flag: Value) -> Value:
    """A truth value as 0 or 1."""
    return deepest(flag).call("Cast", flag, to=ir.DataType.INT64)
