"""Adaptive steps in an ONNX Loop: error control inside the graph, tolerances as inputs with defaults.

The loop's body is `odelet.attempt.attempt` and `odelet.control.judge`, emitted; this file only carries the
state from one iteration to the next and reads the output times off the accepted steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from odelet.attempt import attempt, begin
from odelet.control import clamp, judge
from odelet.dense import quartic
from odelet_export.emit import ONNX, Scope, Value
from odelet_export.forms.site import (
    NOT_FINITE,
    OK,
    STEP_LIMIT,
    STEP_UNDERFLOW,
    Lowered,
    Site,
    not_finite,
)


class Step(NamedTuple):
    """What reading needs of a step: its start and length (forward), both ends, the middle, both slopes."""

    start: Value
    h: Value
    y0: Value
    y1: Value
    mid: Value
    k0: Value
    k1: Value


def refusal(site: Site) -> str | None:
    """Why this form cannot have a solve, or None."""
    spec = site.hole.spec
    if not spec.adaptive:
        return f"{spec.method} has no error estimate"
    assert spec.control is not None
    if "max_num_steps" in spec.options and site.count != 2:
        return "max_num_steps counts between output times, which this form cannot do for more than two of them"
    return None


def lower(site: Site) -> Lowered:
    """Loop over attempted steps until the last output time is passed."""
    spec, scope, settings, max_steps = site.hole.spec, site.scope, site.settings, site.max_steps
    control = spec.control
    assert control is not None and spec.rtol is not None and spec.atol is not None
    if "max_num_steps" in spec.options:
        max_steps = min(max_steps, control.max_num_steps)
    rtol = _setting(scope, settings["rtol"], np.float64(spec.rtol))
    atol = _setting(scope, settings["atol"], np.float64(spec.atol))
    limit = _setting(scope, settings["max_steps"], np.int64(max_steps))
    if site.count == 1:
        zero = scope.constant(0, np.int64)
        time = scope.call("Cast", site.scalar(site.time(0), None), to=ir.DataType.DOUBLE)
        report = {"steps": zero, "accepted": zero, "status": zero, "time": time}
        return Lowered(site.solution(site.y0), report, None, settings)
    common: dict[str, Any] = {
        "rtol": rtol,
        "atol": atol,
        "layout": site.layout,
        "direction": site.direction,
        "xp": ONNX,
    }
    t = site.t if isinstance(site.t, Value) else scope.constant(site.t)
    forward = scope.call("Cast", t, to=ir.DataType.DOUBLE) * site.direction
    start, end = forward[0], forward[-1]
    k0, h = begin(site.field, start * site.direction, site.y0, order=spec.tableau.order, control=control, **common)
    first = scope.constant(np.float64(control.first_step or 0)) if h is None else ONNX.cast(h, start)
    first = clamp(first, control=control, xp=ONNX)
    one_read = site.count == 2

    def body(inner: Scope, i: Value, now: Value, h: Value, y: Value, k: Value, accepted: Value, *_: Value) -> Any:
        tried = attempt(site.field, spec.tableau, now * site.direction, h * site.direction, y, k, **common)
        accept, h_next = judge(h, tried.ratio, order=spec.tableau.order, control=control, xp=ONNX)
        now_next = ONNX.where(accept, now + h, now)
        y_next, k_next = ONNX.where(accept, tried.y1, y), ONNX.where(accept, tried.k1, k)
        go_on = (now_next < end) & (now_next + h_next > now_next)
        count = accepted + inner.call("Cast", accept, to=ir.DataType.INT64)
        carried = [now_next, h_next, y_next, k_next, count, i]
        step = [now, h, y, tried.mid, k]
        return (go_on, carried + step, []) if one_read else (go_on, carried, [*step, now_next, y_next, k_next])

    zero = scope.constant(0, np.int64)
    carried = [start, first, site.y0, k0, zero, zero]
    if one_read:
        carried += [start, first, site.y0, site.y0, k0]
    final, collected = scope.loop(body, limit, ~(start >= end), carried)
    now, h, y, k, accepted, last = final[:6]
    if one_read:
        begun, taken, y_before, mid, k_before = final[6:]
        rows = ONNX.concat([site.y0, _read(site, end, Step(begun, taken, y_before, y, mid, k_before, k), now)], axis=0)
    else:
        rows = ONNX.concat([site.y0, _read_many(site, forward, collected)], axis=0)
    reached = ONNX.reshape(forward <= now, (-1, 1))
    rows = ONNX.where(reached, rows, scope.constant(np.nan, site.y0.dtype))
    stuck = ONNX.where(now + h > now, STEP_LIMIT, scope.constant(STEP_UNDERFLOW, np.int64))
    broken = ONNX.where(scope.call("IsNaN", h), NOT_FINITE, stuck)
    done = ONNX.where(not_finite(y), NOT_FINITE, scope.constant(OK, np.int64))
    report = {
        "steps": last + 1,
        "accepted": accepted,
        "status": site.checked(ONNX.where(now >= end, done, broken)),
        "time": now * site.direction,
    }
    return Lowered(site.solution(rows), report, None, settings)


def _setting(scope: Scope, name: str, default: Any) -> Value:
    """A scalar graph input with a default."""
    tensor = ir.tensor(np.asarray(default), name=name)
    return Value(scope.builder.input(name, tensor.dtype, [], const_value=tensor), scope)


def _read(site: Site, target: Value, step: Step, end: Value) -> Value:
    """The state at forward time(s) `target`, from the step that holds each."""
    like = step.y0
    x = ONNX.cast((target - step.start) / (end - step.start), like)
    h = ONNX.cast(step.h * site.direction, like)
    return quartic(x, h, step.y0, step.y1, step.mid, step.k0, step.k1)


def _read_many(site: Site, forward: Value, collected: list[Value]) -> Value:
    """The states (times - 1, n) after the first time; collected: from every attempted step, stacked."""
    scope = site.scope
    start, h, y, mid, k, after, y1, k1 = collected
    targets = ONNX.reshape(forward[1:], (-1, 1, 1))
    # Time does not move in a rejected step, so the first step that ends at or after a time was accepted.
    missed = ONNX.reshape(after, (1, 1, -1)) < targets
    axes = scope.constant(np.array([1, 2], np.int64))
    index = scope.call("ReduceSum", scope.call("Cast", missed, to=ir.DataType.INT64), axes, keepdims=0)
    last = ONNX.reshape(scope.call("Shape", after), ()) - 1
    index = ONNX.minimum(index, last)
    times = [ONNX.reshape(value[index], (-1, 1, 1)) for value in (start, h, after)]
    begun, taken, ended = times
    step = Step(begun, taken, y[index], y1[index], mid[index], k[index], k1[index])
    rows = _read(site, targets, step, ended)
    return scope.call("Squeeze", rows, scope.constant(np.array([1], np.int64)))
