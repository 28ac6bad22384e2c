"""Steps of an embedded pair along a grid found on calibration data: a straight line that reports its error ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.methods.method import Method
from odelet.numerics.backend import NUMPY
from odelet.numerics.grid_path import GridPath, error_ratios, evaluation_times, interpolate, scaled_grid, take_steps
from odelet.numerics.interpolation import quartic
from odelet.numerics.rk import Field as RowField
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Value
from odelet_export.lowering.forms.ahead import Called, ahead_of
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.site import OK, Site, in_dtype, layout_of, tolerance_inputs
from odelet_export.lowering.hole import Hole


def excludes(method: Method) -> str | None:
    """The reason why no solve of a method can have the form, as a clause whose subject is the method; or None."""
    return method.steps_outside or method.no_error_estimate


def no_grid(hole: Hole) -> str | None:
    """The reason why calibration can find no grid for a solve, or None."""
    spec = hole.spec
    if excluded := BOUNDED.refuse_method(spec.solver):
        return excluded
    if spec.until_event:
        return "it ends at an event, whose time is not known at export"
    if hole.norm is not None:
        return "it measures errors by a norm of its own"
    points = [name for name in spec.extras if name in ("step_t", "jump_t")]
    if points:
        return f"its {points[0]} are times at which steps end, and its steps end where calibration says"
    return None


def unsuited(site: Site) -> str | None:
    """The reason why a solve cannot have the form although its method can, or None."""
    why = no_grid(site.hole)
    if why is None and site.hole.placed is None:
        return "its steps are found on calibration data, and there are none; give calibration"
    return why


def lower(site: Site) -> LoweredSolve:
    """Build one step after another along the grid, and report the largest of their error ratios."""
    scope, hole, tableau = site.scope, site.hole, site.hole.spec.tableau
    control, placed = hole.spec.control, hole.placed
    assert control is not None and placed is not None
    number = np.promote_types(control.dtype, site.y0.dtype)
    names = {name: site.settings[name] for name in ("rtol", "atol") if site.settings}
    inputs = tolerance_inputs(hole.spec, scope, names, np.dtype(np.float64))
    tolerances = {name: in_dtype(number, value) for name, value in inputs.items()}
    per_sample = placed.samples is not None
    layout = site.layout
    if per_sample:
        parts = [Value(part, scope) for part in hole.y0]
        layout = layout_of(
            [part.dims for part in parts], lambda i: scope.call("Shape", parts[i]), scope, per_sample=True
        )
    steps = len(placed.positions) - 1 if site.count != 1 else 0
    constant = isinstance(site.t, np.ndarray)
    t = site.t.astype(number) if isinstance(site.t, np.ndarray) else in_dtype(number, site.t)
    if not steps:
        path, ratios = GridPath([site.y0], [], [], None), _nothing(site, per_sample=per_sample)
        rows = site.y0
    else:
        points = scaled_grid(t, placed.positions.astype(number), xp=NUMPY if constant else ONNX)
        path = take_steps(
            _field(site, points, steps), tableau, points, site.y0, steps=steps, direction=site.direction, xp=ONNX
        )
        ratios_of_steps = error_ratios(path, **tolerances, layout=layout, xp=ONNX)
        ratios = scope.call("ReduceMax", ratios_of_steps, scope.constant(np.array([0], np.int64)), keepdims=0)
        if isinstance(t, Value) and site.count != 2:
            rows = _read(site, path, points, t)
        else:
            rows = interpolate(path, points, np.zeros(2) if isinstance(t, Value) else t, xp=ONNX)
    ratios = scope.call("Cast", ratios, to=ir.DataType.DOUBLE)
    report = {"error_ratio": ratios}
    if not constant:
        report["status"] = site.checked(scope.constant(OK, np.int64))
    calls = hole.spec.solver.evaluations
    assert calls is not None
    return LoweredSolve(
        solution=site.solution(rows),
        report=report,
        steps=steps,
        settings=names,
        evaluations=1 + calls * steps if steps else 0,
    )


def _field(site: Site, points: np.ndarray | Value, steps: int) -> RowField:
    """The field as the steps call it."""
    if not site.ahead:
        return site.field
    times = evaluation_times(site.hole.spec.tableau, points, site.y0, direction=site.direction, xp=ONNX)
    calls = site.hole.spec.solver.evaluations
    assert calls is not None
    ahead = ahead_of(Called.at(site), times, 1 + calls * steps)
    return site.field if ahead is None else ahead.field()


def _nothing(site: Site, *, per_sample: bool) -> Value:
    """The error ratio 0 of a solve without steps: (1,), or (samples,) where each batch row has its own."""
    zero = site.scope.constant(np.zeros(1))
    if not per_sample:
        return ONNX.cast(zero, site.y0)
    part = Value(site.hole.y0[0], site.scope)
    return site.scope.call("Expand", zero, site.scope.call("Shape", part, start=0, end=1))


def _read(site: Site, path: GridPath, points: Any, t: Value) -> Value:
    """The states (times, n) at output times given at run time; `grid_path.interpolate` is the same for constant
    times."""
    scope, direction = site.scope, in_dtype(t.dtype, site.direction)
    forward, ends = t * direction, points * direction
    inner, like = forward[1:], site.y0
    before = ONNX.reshape(ends[1:], (1, -1)) < ONNX.reshape(inner, (-1, 1))
    index = ONNX.sum(scope.call("Cast", before, to=ir.DataType.INT64), 1)
    # Times that are not monotone may lie outside the grid; the states read for them do not matter.
    index = ONNX.minimum(index, len(path.middles) - 1)
    start, end = ends[index], ends[index + 1]
    x = ONNX.reshape(ONNX.cast((inner - start) / (end - start), like), (-1, 1))
    h = ONNX.reshape(ONNX.cast((end - start) * direction, like), (-1, 1))
    y0, y1 = _picked(path.states, index), _picked(path.states, index + 1)
    k0, k1 = _picked(path.slopes, index), _picked(path.slopes, index + 1)
    rows = quartic(x, h, y0, y1, _picked(path.middles, index), k0, k1)
    return ONNX.concat([like, rows], axis=0)


def _picked(rows: Sequence[Value], index: Value) -> Value:
    return ONNX.concat(rows, axis=0)[index]


BOUNDED = Form(
    name="bounded",
    lower=lower,
    excludes=excludes,
    unsuited=unsuited,
    varies="tolerances",
    straight=True,
)
