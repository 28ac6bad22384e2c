"""The loop of an adaptive solve inside a graph.

Its body is `odelet.attempt.attempt` and `odelet.control.judge`, emitted; this file only carries the
state from one iteration to the next and reads the output times off the accepted steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from odelet.attempt import attempt, first_length, first_slope, slope_after_jump
from odelet.control import Verdict, clamp, judge, stop_at
from odelet.dense import quartic
from odelet_export.emit import ONNX
from odelet_export.forms.search import Search
from odelet_export.forms.site import (
    BAD_TIMES,
    NOT_FINITE,
    OK,
    STEP_LIMIT,
    STEP_UNDERFLOW,
    Site,
    in_dtype,
    not_finite,
)
from odelet_export.scope import Scope, Value

State = dict[str, Value]  # what an iteration hands to the next


class Step(NamedTuple):
    """What reading needs of a step: its start, its length (forward), both ends, the middle, both slopes."""

    start: Value
    h: Value
    y0: Value
    y1: Value
    mid: Value
    k0: Value
    k1: Value


class Solve:
    """The loop of one solve: what each iteration carries, and what is made of it afterwards."""

    def __init__(self, site: Site, tolerances: dict[str, Any]) -> None:
        control = site.hole.spec.control
        assert control is not None
        self.site, self.scope, self.control = site, site.scope, control
        self.tableau = site.hole.spec.tableau
        self.number = np.promote_types(control.dtype, site.y0.dtype)
        self.direction = in_dtype(self.number, site.direction)
        common: dict[str, Any] = {
            name: [in_dtype(self.number, x) for x in value] if isinstance(value, list) else in_dtype(self.number, value)
            for name, value in tolerances.items()
        }
        self.common = common | {"layout": site.layout, "direction": self.direction, "xp": ONNX}
        t = site.t if isinstance(site.t, Value) else site.scope.constant(site.t)
        # Output times as they run forward, whatever the direction of the solve.
        self.forward = in_dtype(self.number, t) * self.direction
        self.start, self.end = self.forward[0], self.forward[-1]
        self.begun = self._each(self.start)
        self.one_read = site.count == 2
        self.search = Search(site, self.start) if site.event is not None else None
        self.counts_intervals = "max_num_steps" in site.hole.spec.options and self.search is None
        self.points = {name: self._sorted(name) for name in ("step_t", "jump_t") if name in site.hole.extras}

    # What is different where each sample of a batch has its own steps: see `loop_samples`.

    def _each(self, x: Value) -> Value:
        """What begins as x for the solve."""
        return x

    def _some(self, condition: Value) -> Value:
        """Whether the loop goes on."""
        return condition

    def _admit(self, state: State, verdict: Verdict) -> Verdict:
        """The verdict that counts."""
        return verdict

    def _attempts(self, state: State, i: Value) -> Value:
        """The number of the last attempted step, after iteration i."""
        return i

    def _last(self, state: State, accept: Value, step: State) -> State:
        """The step to read from after the loop, of this iteration and those before."""
        return step

    def _passed(self, now: Value) -> Value:
        """How many output times are not after now."""
        reached = now.scope.call("Cast", self.forward <= now, to=ir.DataType.INT64)
        return now.scope.call("ReduceSum", reached, keepdims=0)

    def _not_finite(self, rows: Value) -> Value:
        return not_finite(rows)

    def _rows(self, end: State, collected: list[Value]) -> Value:
        """The states (times, n) at the output times, NaN where they were not reached."""
        now, y0 = end["now"], self.site.y0
        later = self._read(self.end, self._step(end), now) if self.one_read else self._read_many(now, collected)
        reached = ONNX.reshape(self.forward <= now, (-1, 1))
        return ONNX.where(reached, ONNX.concat([y0, later], axis=0), self.scope.constant(np.nan, y0.dtype))

    @staticmethod
    def _step(end: State) -> Step:
        return Step(end["start"], end["taken"], end["y0"], end["y"], end["mid"], end["k0"], end["k1"])

    def _sorted(self, name: str) -> Value:
        """Points where steps end, as they run forward, in order."""
        points = in_dtype(self.number, Value(self.site.hole.extras[name], self.scope))
        points = points * self.direction
        count = self.scope.call("Shape", points)
        return self.scope.call("TopK", points, count, axis=0, largest=0, sorted=1, outputs=2)[0]

    def run(self, limit: Value) -> tuple[Value, dict[str, Value], Value | None]:
        """Emit the solve. Returns the states (times, n) at the output times, the report, and the time of an event."""
        site, scope = self.site, self.scope
        initial = self._initial()
        names = list(initial)

        def body(inner: Scope, i: Value, *values: Value) -> tuple[Value, list[Value], list[Value]]:
            go_on, after, collect = self._body(inner, i, dict(zip(names, values, strict=True)))
            return self._some(go_on), [after[name] for name in names], collect

        go_on = self._some(self._goes_on(initial["now"], initial["h"], site.y0))
        if self.search is not None:
            go_on = go_on & ~self.search.begins_at_event
            limit = ONNX.minimum(limit, self.control.max_num_steps)
        final, collected = scope.loop(body, limit, go_on, list(initial.values()))
        end = dict(zip(names, final, strict=True))
        now = end["now"]
        report = {"steps": end["attempted"] + 1, "accepted": end["accepted"]}
        if self.search is not None:
            return self._end_at_event(now, end["h"], self._step(end), report)
        rows = self._rows(end, collected)
        report["status"] = self._checked(self._status(now, end["h"], rows, now >= self.end))
        report["time"] = scope.call("Cast", now * self.direction, to=ir.DataType.DOUBLE)
        return rows, report, None

    def _end_at_event(
        self, now: Value, h: Value, step: Step, report: dict[str, Value]
    ) -> tuple[Value, dict[str, Value], Value]:
        """The start and the event, rows (2, n), NaN where it was not reached; the report; the time of the event."""
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

    def _initial(self) -> State:
        """What the first iteration finds."""
        site, scope, control = self.site, self.scope, self.control
        y0, t0 = site.y0, self.begun * self.direction
        k = first_slope(site.field, t0, y0, xp=ONNX)
        if control.first_step is None:
            h = first_length(site.field, t0, y0, k, order=self.tableau.order, **self.common)
        else:
            h = self._each(scope.constant(control.first_step, self.number))
        h = clamp(h, control=control, xp=ONNX)
        none, zero, one = (self._each(scope.constant(i, np.int64)) for i in (-1, 0, 1))
        state = {"now": self.begun, "h": h, "y": y0, "k": k, "accepted": zero, "attempted": none}
        state |= {f"past_{i}": self._each(scope.constant(1, self.number)) for i in range(control.memory)}
        state |= {"since": zero, "passed": one} if self.counts_intervals else {}
        for name, points in self.points.items():
            before = scope.call("Cast", points <= self.start, to=ir.DataType.INT64)
            state[name] = self._each(self._within(scope.call("ReduceSum", before, keepdims=0), points))
        if self.one_read:
            state |= {"start": self.begun, "taken": h, "y0": y0, "mid": y0, "k0": k, "k1": k}
        return state

    @staticmethod
    def _within(index: Value, points: Value) -> Value:
        """An index that does not pass the last point."""
        return ONNX.minimum(index, ONNX.reshape(points.scope.call("Shape", points), ()) - 1)

    def _body(self, inner: Scope, i: Value, state: State) -> tuple[Value, State, list[Value]]:
        """One attempted step: whether to go on, what to carry on, what to collect."""
        site, direction, control = self.site, self.direction, self.control
        now, h, y, k = (state[name] for name in ("now", "h", "y", "k"))
        end, hits = now + h, {}
        for name, points in self.points.items():
            end, h, hits[name] = stop_at(points[state[name]], now, end, h, xp=ONNX)
        times = (now * direction, end * direction, h * direction)
        tried = attempt(site.field, self.tableau, *times, y, k, **self.common)
        past = [state[f"past_{j}"] for j in range(control.memory)]
        verdict = judge(h, tried.ratio, past, order=self.tableau.order, control=control, xp=ONNX)
        accept, h_next, remembered = self._admit(state, verdict)
        after = {"now": ONNX.where(accept, end, now), "h": h_next, "attempted": self._attempts(state, i)}
        choose = site.layout.choose
        after |= {"y": choose(accept, tried.y1, y, xp=ONNX), "k": choose(accept, tried.k1, k, xp=ONNX)}
        after["accepted"] = state["accepted"] + inner.call("Cast", accept, to=ir.DataType.INT64)
        after |= {f"past_{j}": ratio for j, ratio in enumerate(remembered)}
        k1 = after["k"]
        for name, hit in hits.items():
            passes = accept & hit
            if name == "step_t" and "jump_t" in hits:
                passes = passes & ~hits["jump_t"]
            if name == "jump_t":
                after["k"] = self._after_jump(passes, times[1], after)
            index = state[name] + inner.call("Cast", passes, to=ir.DataType.INT64)
            after[name] = self._within(index, self.points[name])
        go_on = self._goes_on(after["now"], h_next, after["y"])
        if self.counts_intervals:
            passed, done = self._passed(after["now"]), after["attempted"] + 1
            since = ONNX.where(passed > state["passed"], done, state["since"])
            go_on = go_on & (done - since < control.max_num_steps)
            after |= {"since": since, "passed": passed}
        if self.one_read:
            step = {"start": now, "taken": h, "y0": y, "mid": tried.mid, "k0": k, "k1": k1}
            return go_on, after | self._last(state, accept, step), []
        return go_on, after, [now, h, y, tried.mid, k, after["now"], after["y"], k1]

    def _after_jump(self, passes: Value, t1: Value, after: State) -> Value:
        """The slope to go on with, taken anew past a jump."""
        field = self.site.field
        return ONNX.branch(
            passes,
            lambda t, y, k: slope_after_jump(field, t, y, direction=self.direction, xp=ONNX),
            lambda t, y, k: k,
            t1,
            after["y"],
            after["k"],
        )

    def _goes_on(self, now: Value, h: Value, y: Value) -> Value:
        """Whether there is a step to attempt: the end is not reached, and the step moves time."""
        ahead = now < self.end if self.search is None else self.search.goes_on(now, y)
        return ahead & (now + h > now)

    def _checked(self, status: Value) -> Value:
        """The status, or BAD_TIMES where the times that came in make no sense."""
        if self.points:
            points = ONNX.concat(list(self.points.values()), axis=0)
            count = self.scope.call("Shape", points)
            points = self.scope.call("TopK", points, count, axis=0, largest=0, sorted=1, outputs=2)[0]
            twice = (points[1:] <= points[:-1]) & (points[1:] >= self.start)
            found = self.scope.call("ReduceSum", self.scope.call("Cast", twice, to=ir.DataType.INT64), keepdims=0)
            status = ONNX.where(found > 0, BAD_TIMES, status)
        return self.site.checked(status)

    def _status(self, now: Value, h: Value, rows: Value, ended: Value) -> Value:
        scope = self.scope
        stuck = ONNX.where(now + h > now, STEP_LIMIT, scope.constant(STEP_UNDERFLOW, np.int64))
        broken = ONNX.where(scope.call("IsNaN", h), NOT_FINITE, stuck)
        done = ONNX.where(self._not_finite(rows), NOT_FINITE, scope.constant(OK, np.int64))
        return ONNX.where(ended, done, broken)

    def _read(self, target: Value, step: Step, end: Value) -> Value:
        """The state at forward time(s) `target`, from the step that holds each."""
        like = step.y0
        x = ONNX.cast((target - step.start) / (end - step.start), like)
        h = ONNX.cast(step.h * self.direction, like)
        return quartic(x, h, step.y0, step.y1, step.mid, step.k0, step.k1)

    def _read_many(self, now: Value, collected: list[Value]) -> Value:
        """The states (times - 1, n) after the first time, NaN after `now`.

        collected: from every attempted step, stacked; nothing where a solve failed before its first.
        """
        scope = self.scope
        start, h, y, mid, k, after, y1, k1 = collected
        first, later = self.forward[0], self.forward[1:]
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
        rows = scope.call("Squeeze", self._read(targets, step, ended), scope.constant(np.array([1], np.int64)))
        missing = scope.call("Shape", later) - count
        pads = ONNX.concat([zero, zero, missing, zero], axis=0)
        return scope.call("Pad", rows, pads, scope.constant(np.nan, self.site.y0.dtype))
