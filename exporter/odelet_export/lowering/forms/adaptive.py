"""Adaptive steps in an ONNX Loop, with error control inside the graph and tolerances as inputs with defaults."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from odelet.methods.method import Method
from odelet_export.graphs.scope import Value
from odelet_export.lowering.forms import iteration
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.loop import AdaptiveLoop
from odelet_export.lowering.forms.loop_samples import PerSampleLoop
from odelet_export.lowering.forms.loop_static import StaticLoop
from odelet_export.lowering.forms.site import Site, tolerance_inputs


def excludes(method: Method) -> str | None:
    """The reason why no solve of a method can have the form, as a clause whose subject is the method; or None."""
    # An iteration ends when its change is within the tolerances, which takes no error estimate.
    return method.steps_outside or (method.no_error_estimate if method.fixed else None)


def lower(site: Site) -> LoweredSolve:
    """Build a Loop over attempted steps until the last output time or an event; for an iteration, over its turns."""
    scope, settings, per_sample = site.scope, site.settings, site.hole.spec.per_sample
    tolerances = tolerance_inputs(site.hole.spec, scope, settings, np.dtype(np.float64))
    most = site.hole.spec.max_iters or site.max_steps
    if settings:
        limit = ir.tensor(np.asarray(most, np.int64), name=settings["max_steps"])
        steps = Value(scope.builder.input(settings["max_steps"], limit.dtype, [], const_value=limit), scope)
    else:
        steps = scope.constant(most, np.int64)
    if site.hole.spec.timeless:
        return iteration.adaptive(site, tolerances, steps)
    if site.count == 1:
        zero = site.each(scope.constant(0, np.int64))
        time = site.each(scope.call("Cast", site.scalar(site.time(0), None), to=ir.DataType.DOUBLE))
        report = {"steps": zero, "accepted": zero, "status": zero, "time": time}
        return LoweredSolve(solution=site.solution(site.y0), report=report, settings=settings)
    loop = PerSampleLoop if per_sample else StaticLoop if site.static else AdaptiveLoop
    solve = loop(site, tolerances)
    rows, report, event_time = solve.run(steps)
    return LoweredSolve(solution=site.solution(rows), event_time=event_time, report=report, settings=settings)


ADAPTIVE = Form(
    name="adaptive",
    lower=lower,
    excludes=excludes,
    varies="tolerances",
    remedy="change the method with --method dopri5",
)
