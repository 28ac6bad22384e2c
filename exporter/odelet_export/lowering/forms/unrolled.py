"""Fixed steps in a straight line: constant time, no control flow, weights shared by all steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from odelet.methods.method import Method
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Value
from odelet_export.lowering.forms import iteration
from odelet_export.lowering.forms.ahead import of_grid
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
)
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.site import Site


def excludes(method: Method) -> str | None:
    """The reason why no solve of a method can have the form, as a clause whose subject is the method; or None."""
    return method.steps_outside or method.chooses_steps or method.needs_loop


def unsuited(site: Site) -> str | None:
    """The reason why a solve cannot have the form although its method can, or None."""
    if site.hole.spec.timeless:
        return None
    if site.event is not None:
        return "it ends at an event, whose time is not known at export"
    if known_steps(site) is None:
        return "the number of steps follows from the times given at run time"
    if grid_of(site).reads_cubics and site.count is None:
        return "interp='cubic' calls the field for each output time, and their number is given at run time"
    return None


def lower(site: Site) -> LoweredSolve:
    """Build a step for each interval of the grid, one after another; for an iteration, all turns of its limit."""
    if site.hole.spec.timeless:
        return iteration.unrolled(site)
    steps = known_steps(site)
    assert steps is not None
    grid = grid_points(site)
    times = [grid[i] for i in range(steps + 1)]
    fields = of_grid(site, grid, steps)
    states, slopes = [site.y0], []
    memory = initial_memory(site)
    calls = 0
    for i, (t, t1) in enumerate(pairwise(times)):
        fixed_step = step(site, i, t, t1, states[-1], memory, field=fields(i, t, t1))
        states.append(fixed_step.y1)
        slopes.append(fixed_step.k0)
        memory, calls = fixed_step.memory, calls + fixed_step.evaluations
    cubic = grid_of(site).reads_cubics
    usual = site.hole.spec.solver.evaluations is not None and not cubic
    path = FixedSteps(
        ONNX.concat(states, axis=0) if len(states) > 1 else states[0],
        ONNX.concat(slopes, axis=0) if cubic and slopes else None,
        None if usual else calls + ((site.count or 1) - 1 if cubic else 0),
        None,
    )
    if only_the_end(site):
        rows = ONNX.concat([states[0], states[-1]], axis=0) if site.count == 2 else states[0]
    elif not slopes:
        rows = states[0]
    else:
        rows = read(site, grid, path, _each(site))
    return finish(site, rows, path, steps=steps, steps_value=None, grid=grid)


def _each(site: Site) -> Callable[[Callable[[Value], Value], Value, Value], Value]:
    def each(one: Callable[[Value], Value], _later: Value, y0: Value) -> Value:
        assert site.count is not None
        rows = [one(site.scope.constant(j, np.int64)) for j in range(site.count - 1)]
        return ONNX.concat([y0, *rows], axis=0)

    return each


UNROLLED = Form(
    name="unrolled",
    lower=lower,
    excludes=excludes,
    unsuited=unsuited,
    varies="steps",
    straight=True,
    remedy="change the method with --method rk4 and --steps N",
)
