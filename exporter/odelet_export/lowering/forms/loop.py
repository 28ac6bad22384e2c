"""The loop of an adaptive solve inside a graph.

The loop's body is the solver text of `odelet.numerics`, emitted into the graph: one attempted step, and the decision
about it. This file only carries the state from one iteration to the next; `loop_read` reads the states at the output
times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.numerics.adaptive_step import attempt, dense_output_stages, first_length, first_slope, slope_after_jump
from odelet.numerics.control import StepDecision, clamp, judge, stop_at
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms.ahead import Called, of_attempt
from odelet_export.lowering.forms.loop_read import Carried, Reading, Step
from odelet_export.lowering.forms.search import EventSearch
from odelet_export.lowering.forms.site import (
    BAD_TIMES,
    NOT_FINITE,
    OK,
    STEP_LIMIT,
    STEP_UNDERFLOW,
    Site,
    in_dtype,
    not_finite,
)
from odelet_export.lowering.forms.steps_note import Clock, note_steps


class AdaptiveLoop(Reading):
    """The Loop of one solve: the values that its iterations carry, and the solution and report after the last one."""

    def __init__(self, site: Site, tolerances: dict[str, Any]) -> None:
        control = site.hole.spec.control
        assert control is not None
        self.site, self.scope, self.control = site, site.scope, control
        self.tableau = site.hole.spec.tableau
        self.number = np.promote_types(control.dtype, site.y0.dtype)
        self.direction = in_dtype(self.number, site.direction)
        common = {name: in_dtype(self.number, value) for name, value in tolerances.items()}
        self.common = common | {"layout": site.layout, "direction": self.direction, "xp": ONNX}
        t = site.t if isinstance(site.t, Value) else site.scope.constant(site.t)
        # Output times are multiplied by the direction, so that they increase whatever the direction of the solve.
        self.forward = in_dtype(self.number, t) * self.direction
        self.start, self.end = self.forward[0], self.forward[-1]
        self.begun = self._each(self.start)
        self.one_read = site.count == 2
        self.search = EventSearch(site, self.start) if site.event is not None else None
        self.counts_intervals = "max_num_steps" in site.hole.spec.options and self.search is None
        self.read_stages = dense_output_stages(self.tableau)
        self.points = {name: self._sorted(name) for name in ("step_t", "jump_t") if name in site.hole.extras}

    # `loop_samples` overrides the following methods for solves in which each batch row has its own steps, and
    # `loop_static` some of them for memory of fixed size.

    def _each(self, x: Value) -> Value:
        """The scalar x as an initial value with one entry for each solve: here x itself, as there is one solve."""
        return x

    def _some(self, condition: Value) -> Value:
        """Whether the condition holds for any solve: here the condition itself, as there is one solve."""
        return condition

    def _admit(self, state: Carried, verdict: StepDecision) -> StepDecision:
        """The decision about an attempted step, for solves that have not ended."""
        return verdict

    def _moved(self, accept: Value, new: Sequence[Value], old: Sequence[Value]) -> Sequence[Value]:
        """The time, the state and the slope to continue from. An If costs less than three Wheres at every size."""
        moved: Sequence[Value] = ONNX.branch(accept, lambda *x: x[:3], lambda *x: x[3:], *new, *old)
        return moved

    def _counted(self, state: Carried, accept: Value, i: Value) -> tuple[Carried, Value]:
        """The counters of steps that the Loop carries, and the number of attempted steps."""
        return {}, i + 1

    def _collected(self, time: Value) -> Carried:
        """What the Loop collects of each attempted step besides the values for dense output. time: where it ends."""
        return {"now": time}

    def _counts(self, end: Carried, collected: Carried) -> dict[str, Value]:
        """The step counts of the report. An attempt that moved time was accepted."""
        ends = collected["now"]
        starts = ONNX.concat([ONNX.reshape(self.begun, (1,)), ends], axis=0)[:-1]
        accepted = self.scope.call("Cast", ends > starts, to=ir.DataType.INT64)
        return {"steps": ONNX.row_count(ends), "accepted": self.scope.call("ReduceSum", accepted, keepdims=0)}

    def _passed(self, now: Value) -> Value:
        """The number of output times up to `now`."""
        reached = now.scope.call("Cast", self.forward <= now, to=ir.DataType.INT64)
        return now.scope.call("ReduceSum", reached, keepdims=0)

    def _not_finite(self, rows: Value) -> Value:
        return not_finite(rows)

    def _sorted(self, name: str) -> Value:
        """The times of step_t or jump_t, at which steps end, multiplied by the direction and sorted, then infinity,
        which no step reaches: a call may give no time at all."""
        points = in_dtype(self.number, Value(self.site.hole.extras[name], self.scope))
        points = ONNX.concat([points * self.direction, self.scope.constant(np.array([np.inf], self.number))], axis=0)
        count = self.scope.call("Shape", points)
        ascending: Value = self.scope.call("TopK", points, count, axis=0, largest=0, sorted=1, outputs=2)[0]
        ascending.ir.shape = points.ir.shape
        return ascending

    def run(self, limit: Value) -> tuple[Value, dict[str, Value], Value | None]:
        """Emit the solve. Returns the states (times, n) at the output times, the report, and the time of an event."""
        site, scope = self.site, self.scope
        initial = self._initial()
        names, collects = list(initial), list[str]()

        def body(inner: Scope, i: Value, *values: Value) -> tuple[Value, list[Value], list[Value]]:
            go_on, after, collect = self._body(inner, i, dict(zip(names, values, strict=True)))
            collects.extend(collect)
            return self._some(go_on), [after[name] for name in names], list(collect.values())

        go_on = self._some(self._goes_on(initial["now"], initial["reach"], site.y0))
        if self.search is not None:
            go_on = go_on & ~self.search.begins_at_event
            limit = ONNX.minimum(limit, self.control.max_num_steps)
        final, values = scope.loop(body, limit, go_on, list(initial.values()))
        note_steps(final[0], site.hole.spec, clock=self._clock(names))
        end, collected = dict(zip(names, final, strict=True)), dict(zip(collects, values, strict=True))
        now = end["now"]
        report = self._counts(end, collected)
        if self.search is not None:
            return self._end_at_event(now, end["h"], self._step(end, collected), report)
        rows = self._rows(end, collected)
        report["status"] = self._checked(self._status(now, end["h"], rows, now >= self.end))
        report["time"] = scope.call("Cast", now * self.direction, to=ir.DataType.DOUBLE)
        return rows, report, None

    def _clock(self, names: Sequence[str]) -> Clock | None:
        """Where the Loop has its time. names: of the values that it carries. A solve that ends at an event has no end
        that is known before."""
        if self.search is not None:
            return None
        t = None if isinstance(self.site.t, Value) else self.site.t
        return Clock(names.index("now"), None if t is None else (float(t[0]), float(t[-1])))

    def _end_at_event(
        self, now: Value, h: Value, step: Step, report: dict[str, Value]
    ) -> tuple[Value, dict[str, Value], Value]:
        """The states at the start and at the event, rows (2, n), NaN for an event that was not reached; the report; the
        time of the event."""
        site, scope, search = self.site, self.scope, self.search
        assert search is not None
        at_start = search.begins_at_event
        done = at_start | ~search.goes_on(now, step.y1)
        time, row = search.find(lambda t: self._read(t, step, now), step.start, now, self.common["atol"])
        time, row = ONNX.where(at_start, self.start, time), ONNX.where(at_start, site.y0, row)
        rows = ONNX.concat([site.y0, ONNX.where(done, row, scope.constant(np.nan, row.dtype))], axis=0)
        report["status"] = self._checked(self._status(now, h, rows, done))
        report["time"] = scope.call("Cast", ONNX.where(done, time, now) * self.direction, to=ir.DataType.DOUBLE)
        like = site.t if isinstance(site.t, Value) else scope.constant(site.t)
        return rows, report, ONNX.cast(ONNX.where(done, time, np.nan) * self.direction, like)

    def _initial(self) -> Carried:
        """The values that the first iteration of the Loop starts from, by name."""
        site, scope, control = self.site, self.scope, self.control
        y0, t0 = site.y0, self.begun * self.direction
        k = first_slope(site.field, t0, y0, xp=ONNX)
        if "first_step" in site.hole.extras:
            h = self._each(in_dtype(self.number, Value(site.hole.extras["first_step"], scope)))
        elif control.first_step is None:
            h = first_length(site.field, t0, y0, k, order=self.tableau.order, **self.common)
        else:
            h = self._each(scope.constant(control.first_step, self.number))
        h = clamp(h, control=control, xp=ONNX)
        zero, one = (self._each(scope.constant(i, np.int64)) for i in (0, 1))
        state = {"now": self.begun, "reach": self.begun + h, "h": h, "y": y0, "k": k}
        state |= {f"past_{i}": self._each(scope.constant(1, self.number)) for i in range(control.memory)}
        state |= {"since": zero, "passed": one} if self.counts_intervals else {}
        for name, points in self.points.items():
            before = scope.call("Cast", points <= self.start, to=ir.DataType.INT64)
            state[name] = self._each(scope.call("ReduceSum", before, keepdims=0))
        self.first_k = k
        return state | (self._no_step(ONNX.cast(h * self.direction, y0)) if self.one_read else {})

    def _body(self, inner: Scope, i: Value, state: Carried) -> tuple[Value, Carried, Carried]:
        """Emit one attempted step. Returns whether to go on, the values to carry, and the values to collect."""
        site, direction, control = self.site, self.direction, self.control
        now, end, h, y, k = (state[name] for name in ("now", "reach", "h", "y", "k"))
        hits = {}
        for name, points in self.points.items():
            end, h, hits[name] = stop_at(points[state[name]], now, end, h, xp=ONNX)
        signed = h * direction
        ends = now * direction, end * direction
        field = of_attempt(Called.at(site), self.tableau, *ends, signed, y, direction=direction) if site.ahead else None
        tried = attempt(field or site.field, self.tableau, *ends, signed, y, k, **self.common)
        past = [state[f"past_{j}"] for j in range(control.memory)]
        verdict = judge(h, tried.ratio, past, order=self.tableau.order, control=control, xp=ONNX)
        accept, h_next, remembered = self._admit(state, verdict)
        time, state1, slope = self._moved(accept, (end, tried.y1, tried.k1), (now, y, k))
        after = {"now": time, "reach": time + h_next, "h": h_next, "y": state1, "k": slope}
        after |= {f"past_{j}": ratio for j, ratio in enumerate(remembered)}
        counted, attempted = self._counted(state, accept, i)
        for_reading, to_collect = self._taken(state, time, accept, tried, ONNX.cast(signed, y))
        after, collect = after | counted | for_reading, to_collect | self._collected(time)
        for name, hit in hits.items():
            passes = accept & hit
            if name == "step_t" and "jump_t" in hits:
                passes = passes & ~hits["jump_t"]
            if name == "jump_t":
                after["k"] = self._after_jump(passes, end * direction, after)
            after[name] = state[name] + inner.call("Cast", passes, to=ir.DataType.INT64)
        go_on = self._goes_on(time, after["reach"], state1)
        if self.counts_intervals:
            passed = self._passed(time)
            since = ONNX.where(passed > state["passed"], attempted, state["since"])
            go_on = go_on & (attempted - since < control.max_num_steps)
            after |= {"since": since, "passed": passed}
        return go_on, after, collect

    def _after_jump(self, passes: Value, t1: Value, after: Carried) -> Value:
        """The slope to continue with: evaluated again where the step ends at a jump of the field."""
        field = self.site.field
        slope: Value = ONNX.branch(
            passes,
            lambda t, y, k: slope_after_jump(field, t, y, direction=self.direction, xp=ONNX),
            lambda t, y, k: k,
            t1,
            after["y"],
            after["k"],
        )
        return slope

    def _goes_on(self, now: Value, reach: Value, y: Value) -> Value:
        """Whether to attempt another step: the end is not reached, and the step moves time."""
        if self.search is None:
            return now < ONNX.minimum(self.end, reach)
        return self.search.goes_on(now, y) & (now < reach)

    def _checked(self, status: Value) -> Value:
        """The status, or BAD_TIMES where output times are not monotone or a point at which steps end occurs twice."""
        if self.points:
            points = ONNX.concat(list(self.points.values()), axis=0)
            count = self.scope.call("Shape", points)
            points = self.scope.call("TopK", points, count, axis=0, largest=0, sorted=1, outputs=2)[0]
            twice = (points[1:] <= points[:-1]) & (points[1:] >= self.start) & (points[1:] < np.inf)
            repeats = self.scope.call("ReduceSum", self.scope.call("Cast", twice, to=ir.DataType.INT64), keepdims=0)
            status = ONNX.where(repeats > 0, BAD_TIMES, status)
        return self.site.checked(status)

    def _status(self, now: Value, h: Value, rows: Value, ended: Value) -> Value:
        scope = self.scope
        stuck = ONNX.where(now + h > now, STEP_LIMIT, scope.constant(STEP_UNDERFLOW, np.int64))
        broken = ONNX.where(scope.call("IsNaN", h), NOT_FINITE, stuck)
        done = ONNX.where(self._not_finite(rows), NOT_FINITE, scope.constant(OK, np.int64))
        return ONNX.where(ended, done, broken)
