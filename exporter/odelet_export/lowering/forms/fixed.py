"""The parts that forms of fixed-step solves share: the grid, the states at the output times, and the report."""

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
from odelet.numerics.rk import Field as RowField
from odelet_export.errors import FormError
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Value, deepest
from odelet_export.lowering.forms import stochastic
from odelet_export.lowering.forms.form import LoweredSolve
from odelet_export.lowering.forms.site import BAD_TIMES, NOT_FINITE, OK, Site, not_finite


@dataclass(frozen=True)
class FixedSteps:
    """All steps of a solve.

    states: the states on the grid, (steps + 1, n). slopes: the slopes at the starts of the steps, (steps, n), where
    cubics need them. calls: the number of calls of the field, or None where it follows from the method and the steps.
    failures: the number of steps whose corrector did not converge, or None for a method that iterates nothing.
    """

    states: Value
    slopes: Value | None
    calls: int | Value | None
    failures: Value | None


def grid_of(site: Site) -> Grid:
    """The settings by which a fixed-step solve places its steps."""
    grid = site.hole.spec.grid
    assert grid is not None
    return grid


def grid_points(site: Site) -> np.ndarray | Value:
    """The times of the grid (steps + 1,), an array where they are constant.

    Raises FormError where the model constructs a constant grid that does not run from the first output time to the
    last.
    """
    grid, hole = grid_of(site), site.hole
    constructed: Any = hole.grid_points if hole.grid_points is not None else None
    if hole.grid is not None and constructed is None:
        constructed = Value(hole.grid, site.scope)
    if isinstance(site.t, Value):
        direction: Any = ONNX.cast(site.direction, site.t)
        values: Value = grid.points(site.t, direction=direction, xp=ONNX, constructed_points=constructed)
        return values
    direction = site.t.dtype.type(site.direction)
    if isinstance(constructed, np.ndarray) and not is_valid_grid(
        constructed, site.t, direction=direction, strict=site.hole.spec.solver.remembers, xp=NUMPY
    ):
        raise FormError(
            f"the solve at {hole.spec.source} has a grid that does not run from its first output time to its "
            f"last: {constructed}; its times are {site.t}"
        )
    points: np.ndarray | Value = grid.points(site.t, direction=direction, xp=NUMPY, constructed_points=constructed)
    return points


def known_steps(site: Site) -> int | None:
    """The number of steps of the solve, where the export knows it."""
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


def step(
    site: Site, i: Any, t: Any, t1: Any, y: Value, memory: tuple[Any, ...], *, field: RowField | None = None
) -> FixedStep:
    """The step of the method from t to t1. i: the number of the step, which the noise of an SDE depends on. field: what
    stands for the field of the site in this step."""
    spec = site.hole.spec
    if spec.solver.stochastic:
        return stochastic.step_in_graph(site, i, t, t1, y, memory)
    return spec.solver.step(field or site.field, t, t1, y, memory, step_settings(site), xp=ONNX)


def step_settings(site: Site) -> StepSettings:
    """The settings of the steps of a solve."""
    return StepSettings(direction=site.direction, perturb=grid_of(site).perturb, **site.hole.spec.corrector)


def initial_memory(site: Site) -> tuple[Any, ...]:
    """The values that the first step receives."""
    if site.hole.spec.solver.stochastic:
        return tuple(stochastic.memory_in_graph(site))
    return site.hole.spec.solver.initial_memory(site.y0, xp=ONNX)


def only_the_end(site: Site) -> bool:
    """Whether the only states wanted are those at the first and the last time."""
    if site.count == 2:  # a line gives the state at the end of the last step as it is; a cubic rounds
        return not grid_of(site).reads_cubics
    return site.count == 1


def read(
    site: Site,
    grid: np.ndarray | Value,
    path: FixedSteps,
    each: Callable[[Callable[[Value], Value], Value, Value], Value],
) -> Value:
    """The states (times, n) at the output times.

    grid: the times (steps + 1,). path: the steps. each: called with a function, the times after the first and the first
    row; stacks that row and the function's results for the indices of these times.
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
    # Times that are not monotone may lie outside the grid; the states read for them do not matter.
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
        """The state (1, n) at the time of index j."""
        at, to = index[j], after[j]
        y0, y1, k0 = (ONNX.reshape(value, (1, -1)) for value in (states[at], states[to], slopes[at]))
        y0, y1, k0 = (_shaped(value, site.y0) for value in (y0, y1, k0))
        row: Value = hermite(x[j], h[j], y0, y1, k0, site.field(end[j], y1))
        return row

    return each(one, later, states[:1])


def _shaped(row: Value, like: Value) -> Value:
    """The row, with the shape of `like` noted on it."""
    row.ir.shape = like.ir.shape
    return row


def finish(
    site: Site, rows: Value, path: FixedSteps, *, steps: int | None, steps_value: Value | None, grid: Any
) -> LoweredSolve:
    """The lowered solve. rows: the states (times, n) at the output times. steps: the number of steps, where the export
    knows it; else `steps_value` is that number as a value of the graph. grid: the times of the grid."""
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
    if steps_value is not None:
        report["steps"] = steps_value
    if path.failures is not None:
        report["unconverged"] = path.failures
    if isinstance(path.calls, Value):
        report["evaluations"] = path.calls
    evaluations = None if isinstance(path.calls, Value) else path.calls
    return LoweredSolve(solution=site.solution(rows), report=report, steps=steps, evaluations=evaluations)


def whole(flag: Value) -> Value:
    """A truth value as 0 or 1."""
    return deepest(flag).call("Cast", flag, to=ir.DataType.INT64)
