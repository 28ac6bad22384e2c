"""The Loop of an adaptive solve inside a graph, where each batch row has its own steps.

Values that are scalars in `loop` are (samples,) here. The Loop goes on while any batch row does; a row that has ended
is still computed, and keeps its values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from odelet.numerics.adaptive_step import Attempt
from odelet.numerics.control import StepDecision
from odelet.numerics.interpolation import quartic
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms.loop import AdaptiveLoop
from odelet_export.lowering.forms.loop_read import Carried, Step


class PerSampleLoop(AdaptiveLoop):
    """The Loop of the solves of all batch rows, each with its own steps."""

    def _each(self, x: Value) -> Value:
        return self.site.each(x)

    def _some(self, condition: Value) -> Value:
        counted = condition.scope.call("Cast", condition, to=ir.DataType.INT64)
        return condition.scope.call("ReduceSum", counted, keepdims=0) > 0

    def _initial(self) -> Carried:
        state = super()._initial()
        zero = self._each(self.scope.constant(0, np.int64))
        active = self._goes_on(state["now"], state["reach"], state["y"])
        return state | {"active": active, "attempted": zero, "accepted": zero}

    def _body(self, inner: Scope, i: Value, state: Carried) -> tuple[Value, Carried, Carried]:
        go_on, after, collect = super()._body(inner, i, state)
        return go_on & state["active"], after | {"active": go_on & state["active"]}, collect

    def _admit(self, state: Carried, verdict: StepDecision) -> StepDecision:
        active, past = state["active"], [state[f"past_{j}"] for j in range(self.control.memory)]
        remembered = [ONNX.where(active, new, old) for new, old in zip(verdict.past, past, strict=True)]
        return StepDecision(verdict.accept & active, ONNX.where(active, verdict.h, state["h"]), remembered)

    def _moved(self, accept: Value, new: Sequence[Value], old: Sequence[Value]) -> Sequence[Value]:
        select = self.site.layout.select
        rows = [select(accept, x, y, xp=ONNX) for x, y in zip(new[1:], old[1:], strict=True)]
        return [ONNX.where(accept, new[0], old[0]), *rows]

    def _counted(self, state: Carried, accept: Value, i: Value) -> tuple[Carried, Value]:
        attempted, accepted = (
            state[name] + flag.scope.call("Cast", flag, to=ir.DataType.INT64)
            for name, flag in (("attempted", state["active"]), ("accepted", accept))
        )
        return {"attempted": attempted, "accepted": accepted}, attempted

    def _counts(self, end: Carried, collected: Carried) -> Carried:
        return {"steps": end["attempted"], "accepted": end["accepted"]}

    def _after_jump(self, passes: Value, t1: Value, after: Carried) -> Value:
        k = super()._after_jump(self._some(passes), t1, after)
        slope: Value = self.site.layout.select(passes, k, after["k"], xp=ONNX)
        return slope

    def _no_step(self, h: Value) -> Carried:
        y0, k = self.site.y0, self.first_k
        return {"start": self.begun, "taken": h, "y0": y0, "mid": y0, "k0": k, "k1": k}

    def _taken(self, state: Carried, time: Value, accept: Value, tried: Attempt, h: Value) -> tuple[Carried, Carried]:
        rows = {"y0": state["y"], "mid": tried.mid, "k0": state["k"], "k1": tried.k1}
        if not self.one_read:
            return {}, {"h": h, "y1": tried.y1, **rows}
        select = self.site.layout.select
        step = {name: select(accept, row, state[name], xp=ONNX) for name, row in rows.items()}
        times = {"start": state["now"], "taken": h}
        return step | {name: ONNX.where(accept, x, state[name]) for name, x in times.items()}, {}

    def _step(self, end: Carried, collected: Carried) -> Step:
        return Step(end["start"], end["taken"], end["y0"], end["y"], end["mid"], end["k0"], end["k1"])

    def _passed(self, now: Value) -> Value:
        reached = now.scope.call("Cast", ONNX.reshape(self.forward, (-1, 1)) <= now, to=ir.DataType.INT64)
        return now.scope.call("ReduceSum", reached, now.scope.constant(np.array([0], np.int64)), keepdims=0)

    def _not_finite(self, rows: Value) -> Value:
        """Whether any element is not finite at any output time, (samples,). rows: (times, n)."""
        first, second = (rows.scope.constant(np.array([axis], np.int64)) for axis in (0, 1))
        sums = rows.scope.call("ReduceSum", rows * 0.0, first, keepdims=1)
        layout = self.site.layout
        assert layout.table_shapes is not None
        tables = [ONNX.reshape(p, s) for p, s in zip(layout.slices(sums, xp=ONNX), layout.table_shapes, strict=True)]
        total = rows.scope.call("ReduceSum", tables[0], second, keepdims=0)
        for table in tables[1:]:
            total = total + rows.scope.call("ReduceSum", table, second, keepdims=0)
        return rows.scope.call("IsNaN", total)

    def _over_elements(self, x: Value) -> Value:
        """Numbers (times, samples), each repeated for the elements of its batch row: (times, n)."""
        layout, scope = self.site.layout, self.scope
        assert layout.table_shapes is not None
        column = scope.call("Unsqueeze", x, scope.constant(np.array([2], np.int64)))
        parts = []
        for part, shape in zip(layout.slices(self.site.y0, xp=ONNX), layout.table_shapes, strict=True):
            table = scope.call("Shape", ONNX.reshape(part, shape))
            wide = scope.call("Expand", column, ONNX.concat([scope.constant(np.array([1], np.int64)), table], axis=0))
            # Where there are no times, a -1 would stand for no certain width.
            width = scope.call("ReduceProd", table, scope.constant(np.array([0], np.int64)), keepdims=1)
            rows = ONNX.concat([scope.call("Shape", x, start=0, end=1), width], axis=0)
            parts.append(scope.call("Reshape", wide, rows))
        return parts[0] if len(parts) == 1 else ONNX.concat(parts, axis=1)

    def _read(self, target: Value, step: Step, end: Value) -> Value:
        """The states (times, n) at forward times `target`, (times, samples). step: for each target, the step in which
        it lies. end: the ends of these steps."""
        x = ONNX.cast((target - step.start) / (end - step.start), step.y0)
        rows: Value = quartic(self._over_elements(x), self._over_elements(step.h), *step[2:])
        return rows

    def _rows(self, end: Carried, collected: Carried) -> Value:
        scope, y0, now = self.scope, self.site.y0, end["now"]
        if self.one_read:
            step = self._step(end, collected)
            begun, lengths, ended = (ONNX.reshape(x, (1, -1)) for x in (step.start, step.h, now))
            later = self._read(self.end, step._replace(start=begun, h=lengths), ended)
        else:
            later = self._read_many(now, collected)
        reached = self._over_elements(ONNX.reshape(self.forward, (-1, 1)) <= now)
        # The first output time is always reached.
        return ONNX.where(reached, ONNX.concat([y0, later], axis=0), scope.constant(np.nan, y0.dtype))

    def _read_many(self, now: Value, collected: Carried) -> Value:
        """The states (times - 1, n) at the output times after the first. A state that was not reached has any value.

        collected: the values from all attempted steps, stacked. They are empty where no batch row attempted a step, so
        the start is put before them.
        """
        scope, y0, k = self.scope, self.site.y0, self.first_k
        rank = scope.constant(np.array([1], np.int64))
        begun = ONNX.reshape(self.begun, (1, -1))
        after = ONNX.concat([begun, collected["now"]], axis=0)
        h = ONNX.concat([ONNX.cast(begun, y0), collected["h"]], axis=0)
        ends = [
            ONNX.concat([start, scope.call("Squeeze", collected[name], rank)], axis=0)
            for name, start in (("y0", y0), ("y1", y0), ("mid", y0), ("k0", k), ("k1", k))
        ]
        # Time does not move in a rejected step, so the first step that ends at or after a time was accepted.
        targets = ONNX.reshape(self.forward[1:], (-1, 1, 1))
        steps = scope.call("Unsqueeze", after, scope.constant(np.array([0], np.int64)))
        missed = scope.call("Cast", steps < targets, to=ir.DataType.INT64)
        index = ONNX.minimum(scope.call("ReduceSum", missed, rank, keepdims=0), ONNX.row_count(after) - 1)
        # A step starts where the step before it ended.
        before, wide = ONNX.maximum(index - 1, 0), self._over_elements(index)

        def chosen(x: Value, i: Value) -> Value:
            value: Value = scope.call("GatherElements", x, i, axis=0)
            return value

        step = Step(chosen(after, before), chosen(h, index), *(chosen(rows, wide) for rows in ends))
        return self._read(ONNX.reshape(self.forward[1:], (-1, 1)), step, chosen(after, index))
