"""Fixed steps in a straight line: constant time, no control flow, weights shared by all steps."""

from __future__ import annotations

from odelet_export.emit import ONNX
from odelet_export.forms.fixed import finish, grid_points, known_steps, only_the_end, read, step
from odelet_export.forms.site import Lowered, Site
from odelet_export.scope import Value


def refusal(site: Site) -> str | None:
    """Why this form cannot have a solve, or None."""
    if site.hole.spec.adaptive:
        return f"{site.hole.spec.method} chooses its steps at run time"
    if site.event is not None:
        return "it ends at an event, whose time is not known at export"
    if known_steps(site) is None:
        return "the number of steps follows from the times given at run time"
    return None


def lower(site: Site) -> Lowered:
    """Repeat the step for every interval of the grid."""
    steps = known_steps(site)
    assert steps is not None
    grid = grid_points(site)
    times = [grid[i] for i in range(steps + 1)]
    states = [site.y0]
    for t, t1 in zip(times[:-1], times[1:], strict=True):
        states.append(step(site, t, t1, states[-1]))
    if only_the_end(site):
        rows = ONNX.concat([states[0], states[-1]], axis=0) if site.count == 2 else states[0]
    else:
        stacked: Value = ONNX.concat(states, axis=0)
        rows = read(site, grid, stacked)
    return finish(site, rows, steps, None)
