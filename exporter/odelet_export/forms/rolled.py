"""Fixed steps in an ONNX Loop: the graph does not grow with the number of steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from odelet_export.emit import ONNX
from odelet_export.forms.fixed import finish, grid_points, known_steps, only_the_end, read, step
from odelet_export.forms.site import Lowered, Site
from odelet_export.scope import Scope, Value


def refusal(site: Site) -> str | None:
    """Why this form cannot have a solve, or None."""
    return f"{site.hole.spec.method} chooses its steps at run time" if site.hole.spec.adaptive else None


def lower(site: Site) -> Lowered:
    """Loop over the intervals of the grid, collecting the states where they are read."""
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
