"""Fixed steps in an ONNX Loop: the graph does not grow with the number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.methods.method import Method
from odelet.numerics.events import MOST_FIXED_STEPS
from odelet.numerics.interpolation import linear
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms import iteration
from odelet_export.lowering.forms.ahead import of_grid, of_step
from odelet_export.lowering.forms.fixed import (
    FixedSteps,
    finish,
    grid_of,
    grid_points,
    initial_memory,
    known_steps,
    only_the_end,
    read,
    step,
    whole,
)
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.search import EventSearch
from odelet_export.lowering.forms.site import NOT_FINITE, OK, STEP_LIMIT, Site, in_dtype, not_finite
from odelet_export.lowering.forms.steps_note import note_steps


def excludes(method: Method) -> str | None:
    """The reason why no solve of a method can have the form, as a clause whose subject is the method; or None."""
    return method.steps_outside or method.chooses_steps


def lower(site: Site) -> LoweredSolve:
    """Build a Loop over the steps of the grid, which collects the states where output times lie between them; for an
    iteration, build a Loop over all its turns."""
    if site.hole.spec.timeless:
        return iteration.rolled(site)
    if site.event is not None:
        return _until_event(site)
    scope, solver = site.scope, site.hole.spec.solver
    step_count = known_steps(site)
    grid = grid_points(site)
    points = grid if isinstance(grid, Value) else scope.constant(grid)
    if step_count is None:
        one = np.array([1], np.int64)
        steps = ONNX.reshape(scope.call("Shape", points), ()) - one[0]
    else:
        steps = scope.constant(step_count, np.int64)
    fields = of_grid(site, grid, step_count)
    end_only, cubic = only_the_end(site), grid_of(site).reads_cubics
    memory = _as_values(site)
    zero = scope.constant(0, np.int64)
    counts = [zero] * ((solver.evaluations is None) + solver.iterates)

    def body(_inner: Scope, i: Value, y: Value, *more: Value) -> tuple[Any, list[Value], list[Value]]:
        remembered, counted = more[: len(memory)], list(more[len(memory) :])
        t, t1 = points[i], points[i + 1]
        fixed_step = step(site, i, t, t1, y, tuple(remembered), field=fields(i, t, t1))
        step_counts = [fixed_step.evaluations] if solver.evaluations is None else []
        step_counts += [] if fixed_step.unconverged is None else [whole(fixed_step.unconverged)]
        counted = [before + now for before, now in zip(counted, step_counts, strict=True)]
        collect = [] if end_only else [fixed_step.y1, fixed_step.k0] if cubic else [fixed_step.y1]
        return None, [fixed_step.y1, *fixed_step.memory, *counted], collect

    final, collected = scope.loop(body, steps, None, [site.y0, *memory, *counts])
    note_steps(final[0], site.hole.spec, all_turns=True)
    counted = final[1 + len(memory) :]
    calls: Any = counted[0] if solver.evaluations is None else None
    if cubic:
        calls = (steps * solver.evaluations if calls is None else calls) + _later_times(site)
    path = FixedSteps(final[0], None, calls, counted[-1] if solver.iterates else None)
    if end_only:
        rows = ONNX.concat([site.y0, final[0]], axis=0) if site.count == 2 else site.y0
    else:
        rest = scope.constant(np.array([1], np.int64))
        states, *slopes = (scope.call("Squeeze", value, rest) for value in collected)
        states = ONNX.concat([site.y0, states], axis=0)
        path = FixedSteps(states, slopes[0] if slopes else None, path.calls, path.failures)
        rows = read(site, grid, path, _each(site))
    return finish(site, rows, path, steps=step_count, steps_value=steps if step_count is None else None, grid=grid)


def _as_values(site: Site) -> list[Value]:
    """The memory of the method before the first step, as values that a Loop carries."""
    return [x if isinstance(x, Value) else site.scope.constant(x, np.int64) for x in initial_memory(site)]


def _later_times(site: Site) -> Value:
    """The number of output times after the first."""
    if isinstance(site.t, Value):
        return ONNX.row_count(site.t) - 1
    return site.scope.constant(len(site.t) - 1, np.int64)


def _each(site: Site) -> Callable[[Callable[[Value], Value], Value, Value], Value]:
    def each(one: Callable[[Value], Value], later: Value, y0: Value) -> Value:
        scope = site.scope
        always = scope.constant(True)  # ONNX Runtime wants a condition of a Loop that carries nothing
        _, (rows,) = scope.loop(lambda _inner, j: (None, [], [one(j)]), ONNX.row_count(later), always, [])
        return ONNX.concat([y0, scope.call("Squeeze", rows, scope.constant(np.array([1], np.int64)))], axis=0)

    return each


def _until_event(site: Site) -> LoweredSolve:
    """Build a Loop over steps of one length, until an event function changes its sign or torchdiffeq would give up."""
    scope, spec, like = site.scope, site.hole.spec, site.y0
    assert spec.grid is not None
    computed = site.hole.extras.get("step_size")
    # A step size in the state's type, with a sign: the same number as a product in float64, rounded afterwards.
    step_size: Any = spec.grid.step_size if computed is None else Value(computed, scope)
    assert isinstance(spec.atol, float)
    start = ONNX.cast(site.scalar(site.time(0), None), like)
    h = ONNX.cast(site.scalar(site.direction), like) * in_dtype(like.dtype, step_size)
    search = EventSearch(site, start * ONNX.cast(site.direction, like))

    memory = _as_values(site)
    zero = scope.constant(0, np.int64)

    def body(_inner: Scope, i: Value, t: Value, y: Value, *more: Value) -> tuple[Value, list[Value], list[Value]]:
        failures, remembered = more[3], more[4:]
        t1 = t + h
        fixed_step = step(site, i, t, t1, y, tuple(remembered), field=of_step(site, t, t1))
        failures = failures if fixed_step.unconverged is None else failures + whole(fixed_step.unconverged)
        return (
            search.goes_on(t1 * search.direction, fixed_step.y1),
            [t1, fixed_step.y1, t, y, i, failures, *fixed_step.memory],
            [],
        )

    no_step = scope.constant(-1, np.int64)
    limit = scope.constant(MOST_FIXED_STEPS, np.int64)
    carried = [start, site.y0, start, site.y0, no_step, zero, *memory]
    (t1, y1, t, y, last, failures, *_), _collected = scope.loop(body, limit, None, carried)
    note_steps(t1, spec, all_turns=True)
    begun, now = t * search.direction, t1 * search.direction
    done = ~search.goes_on(now, y1)

    def read(time: Value) -> Value:
        row: Value = linear((time - begun) / (now - begun), y, y1)
        return row

    time, row = search.find(read, begun, now, scope.constant(spec.atol, like.dtype))
    missing = scope.constant(np.nan, like.dtype)
    rows = ONNX.concat([site.y0, ONNX.where(done, row, missing)], axis=0)
    ended = ONNX.where(not_finite(rows), NOT_FINITE, scope.constant(OK, np.int64))
    time = ONNX.where(done, time, now) * search.direction
    report = {
        "steps": last + 1,
        "status": site.checked(ONNX.where(done, ended, STEP_LIMIT)),
        "time": scope.call("Cast", time, to=ir.DataType.DOUBLE),
    }
    if spec.solver.iterates:
        report["unconverged"] = failures
    event_time = ONNX.cast(ONNX.where(done, time, missing), site.scalar(site.time(0), None))
    return LoweredSolve(solution=site.solution(rows), event_time=event_time, report=report)


ROLLED = Form(
    name="rolled",
    lower=lower,
    excludes=excludes,
    varies="steps",
    remedy="change the method with --method rk4 and --steps N",
)
