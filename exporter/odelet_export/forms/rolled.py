"""Fixed steps in an ONNX Loop: the graph does not grow with the number of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.dense import linear
from odelet.events import MOST_FIXED_STEPS
from odelet.rk import erk_step
from odelet_export.emit import ONNX
from odelet_export.forms.fixed import finish, grid_points, known_steps, only_the_end, read, step
from odelet_export.forms.search import Search
from odelet_export.forms.site import NOT_FINITE, OK, STEP_LIMIT, Lowered, Site, not_finite
from odelet_export.scope import Scope, Value


def refusal(site: Site) -> str | None:
    """Why this form cannot have a solve, or None."""
    return f"{site.hole.spec.method} chooses its steps at run time" if site.hole.spec.adaptive else None


def lower(site: Site) -> Lowered:
    """Loop over the intervals of the grid, collecting the states where they are read."""
    if site.event is not None:
        return _until_event(site)
    scope = site.scope
    known = known_steps(site)
    grid = grid_points(site)
    points = grid if isinstance(grid, Value) else scope.constant(grid)
    if known is None:
        one = np.array([1], np.int64)
        steps = ONNX.reshape(scope.call("Shape", points), ()) - one[0]
    else:
        steps = scope.constant(known, np.int64)
    end_only = only_the_end(site)

    def body(inner: Scope, i: Value, y: Value) -> tuple[Any, list[Value], list[Value]]:
        y1 = step(site, points[i], points[i + 1], y)
        return None, [y1], [] if end_only else [y1]

    (y_end,), collected = scope.loop(body, steps, None, [site.y0])
    if end_only:
        rows = ONNX.concat([site.y0, y_end], axis=0) if site.count == 2 else site.y0
    else:
        later = scope.call("Squeeze", collected[0], scope.constant(np.array([1], np.int64)))
        rows = read(site, grid, ONNX.concat([site.y0, later], axis=0))
    return finish(site, rows, known, steps if known is None else None)


def _until_event(site: Site) -> Lowered:
    """Loop over steps of one length until an event function changes its sign, or torchdiffeq would give up."""
    scope, spec, like = site.scope, site.hole.spec, site.y0
    assert spec.grid is not None and spec.grid.step_size is not None
    assert isinstance(spec.atol, float)
    start = ONNX.cast(site.scalar(site.time(0), None), like)
    h = ONNX.cast(scope.call("Cast", site.scalar(site.direction), to=ir.DataType.DOUBLE) * spec.grid.step_size, like)
    search = Search(site, start * ONNX.cast(site.direction, like))

    def body(inner: Scope, i: Value, t: Value, y: Value, *_: Value) -> tuple[Value, list[Value], list[Value]]:
        t1 = t + h
        y1, _ks = erk_step(site.field, spec.tableau, t, t1, y, h, None, xp=ONNX)
        return search.goes_on(t1 * search.direction, y1), [t1, y1, t, y, i], []

    none = scope.constant(-1, np.int64)
    limit = scope.constant(MOST_FIXED_STEPS, np.int64)
    (t1, y1, t, y, last), _collected = scope.loop(body, limit, None, [start, site.y0, start, site.y0, none])
    begun, now = t * search.direction, t1 * search.direction
    done = ~search.goes_on(now, y1)

    def read(time: Value) -> Value:
        return linear((time - begun) / (now - begun), y, y1)

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
    event_time = ONNX.cast(ONNX.where(done, time, missing), site.scalar(site.time(0), None))
    return Lowered(site.solution(rows), report, event_time=event_time)
