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
from odelet_export.emit import ONNX
from odelet_export.forms.site import (
    NOT_FINITE,
    OK,
    STEP_LIMIT,
    STEP_UNDERFLOW,
    Lowered,
    Site,
    not_finite,
)
from odelet_export.scope import Scope, Value


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
    solver = site.hole.spec.solver
    return f"{solver.name} {solver.excluded['adaptive']}" if "adaptive" in solver.excluded else None


def lower(site: Site) -> Lowered:
    """Loop over attempted steps until the last output time is passed."""
    spec, scope, settings = site.hole.spec, site.scope, site.settings
    assert spec.rtol is not None and spec.atol is not None
    rtol = _setting(scope, settings["rtol"], np.float64(spec.rtol))
    atol = _setting(scope, settings["atol"], np.float64(spec.atol))
    limit = _setting(scope, settings["max_steps"], np.int64(site.max_steps))
    if site.count == 1:
        zero = scope.constant(0, np.int64)
        time = scope.call("Cast", site.scalar(site.time(0), None), to=ir.DataType.DOUBLE)
        report = {"steps": zero, "accepted": zero, "status": zero, "time": time}
        return Lowered(site.solution(site.y0), report, None, settings)
    solve = _Solve(site, rtol, atol)
    rows, report = solve.run(limit)
    return Lowered(site.solution(rows), report, None, settings)


class _Solve:
    """The loop of one solve: what each iteration carries, and what is made of it afterwards."""

    def __init__(self, site: Site, rtol: Value, atol: Value) -> None:
        control = site.hole.spec.control
        assert control is not None
        self.site, self.scope, self.control = site, site.scope, control
        self.order = site.hole.spec.tableau.order
        self.common: dict[str, Any] = {
            "rtol": rtol,
            "atol": atol,
            "layout": site.layout,
            "direction": site.direction,
            "xp": ONNX,
        }
        t = site.t if isinstance(site.t, Value) else site.scope.constant(site.t)
        # Output times as they run forward, whatever the direction of the solve.
        self.forward = site.scope.call("Cast", t, to=ir.DataType.DOUBLE) * site.direction
        self.start, self.end = self.forward[0], self.forward[-1]
        self.one_read = site.count == 2
        self.counts_intervals = "max_num_steps" in site.hole.spec.options

    def run(self, limit: Value) -> tuple[Value, dict[str, Value]]:
        """Emit the solve. Returns the states (times, n) at the output times, and the report."""
        site, scope = self.site, self.scope
        y0, start = site.y0, self.start
        k0, h = begin(site.field, start * site.direction, y0, order=self.order, control=self.control, **self.common)
        first = ONNX.cast(h, start) if h is not None else scope.constant(np.float64(self.control.first_step or 0))
        first = clamp(first, control=self.control, xp=ONNX)
        zero, one = (scope.constant(i, np.int64) for i in (0, 1))
        carried = [start, first, y0, k0, zero, scope.constant(-1, np.int64)]
        carried += [zero, one] if self.counts_intervals else []
        kept = len(carried)
        if self.one_read:
            carried += [start, first, y0, y0, k0]
        final, collected = scope.loop(self._body, limit, self._goes_on(start, first), carried)
        now, h, y, k, accepted, last = final[:6]
        if self.one_read:
            begun, taken, y_before, mid, k_before = final[kept:]
            later = _read(site, self.end, Step(begun, taken, y_before, y, mid, k_before, k), now)
        else:
            later = _read_many(site, self.forward, now, collected)
        reached = ONNX.reshape(self.forward <= now, (-1, 1))
        rows = ONNX.where(reached, ONNX.concat([y0, later], axis=0), scope.constant(np.nan, y0.dtype))
        report = {
            "steps": last + 1,
            "accepted": accepted,
            "status": site.checked(self._status(now, h, rows)),
            "time": now * site.direction,
        }
        return rows, report

    def _body(
        self, inner: Scope, i: Value, now: Value, h: Value, y: Value, k: Value, accepted: Value, _: Value, *more: Value
    ) -> tuple[Value, list[Value], list[Value]]:
        """One attempted step: whether to go on, what to carry on, what to collect."""
        site, direction = self.site, self.site.direction
        tried = attempt(site.field, site.hole.spec.tableau, now * direction, h * direction, y, k, **self.common)
        accept, h_next = judge(h, tried.ratio, order=self.order, control=self.control, xp=ONNX)
        now_next = ONNX.where(accept, now + h, now)
        y_next, k_next = ONNX.where(accept, tried.y1, y), ONNX.where(accept, tried.k1, k)
        go_on = self._goes_on(now_next, h_next)
        count = accepted + inner.call("Cast", accept, to=ir.DataType.INT64)
        carried = [now_next, h_next, y_next, k_next, count, i]
        if self.counts_intervals:
            passed = inner.call("Cast", self.forward <= now_next, to=ir.DataType.INT64)
            passed = inner.call("ReduceSum", passed, keepdims=0)
            since = ONNX.where(passed > more[1], i + 1, more[0])
            go_on = go_on & (i + 1 - since < self.control.max_num_steps)
            carried += [since, passed]
        step = [now, h, y, tried.mid, k]
        return (go_on, carried + step, []) if self.one_read else (go_on, carried, [*step, now_next, y_next, k_next])

    def _goes_on(self, now: Value, h: Value) -> Value:
        """Whether there is a step to attempt: the end is not reached, and the step moves time."""
        return (now < self.end) & (now + h > now)

    def _status(self, now: Value, h: Value, rows: Value) -> Value:
        scope = self.scope
        stuck = ONNX.where(now + h > now, STEP_LIMIT, scope.constant(STEP_UNDERFLOW, np.int64))
        broken = ONNX.where(scope.call("IsNaN", h), NOT_FINITE, stuck)
        done = ONNX.where(not_finite(rows), NOT_FINITE, scope.constant(OK, np.int64))
        return ONNX.where(now >= self.end, done, broken)


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


def _read_many(site: Site, forward: Value, now: Value, collected: list[Value]) -> Value:
    """The states (times - 1, n) after the first time, NaN after `now`.

    collected: from every attempted step, stacked; nothing where a solve failed before its first.
    """
    scope = site.scope
    start, h, y, mid, k, after, y1, k1 = collected
    first, later = forward[0], forward[1:]
    zero = scope.constant(np.array([0], np.int64))
    reached = scope.call("Cast", (later > first) & (later <= now), to=ir.DataType.INT64)
    count = scope.call("ReduceSum", reached, keepdims=1)
    targets = ONNX.reshape(scope.call("Slice", later, zero, count), (-1, 1, 1))
    # Time does not move in a rejected step, so the first step that ends at or after a time was accepted.
    missed = ONNX.reshape(after, (1, 1, -1)) < targets
    axes = scope.constant(np.array([1, 2], np.int64))
    index = scope.call("ReduceSum", scope.call("Cast", missed, to=ir.DataType.INT64), axes, keepdims=0)
    last = ONNX.reshape(scope.call("Shape", after), ()) - 1
    index = ONNX.minimum(index, last)
    times = [ONNX.reshape(value[index], (-1, 1, 1)) for value in (start, h, after)]
    begun, taken, ended = times
    step = Step(begun, taken, y[index], y1[index], mid[index], k[index], k1[index])
    rows = scope.call("Squeeze", _read(site, targets, step, ended), scope.constant(np.array([1], np.int64)))
    missing = scope.call("Shape", later) - count
    pads = ONNX.concat([zero, zero, missing, zero], axis=0)
    return scope.call("Pad", rows, pads, scope.constant(np.nan, site.y0.dtype))
