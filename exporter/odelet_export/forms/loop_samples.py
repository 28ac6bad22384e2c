"""The loop of an adaptive solve inside a graph, where each sample of a batch has its own steps.

Whatever has one number for a solve has one for each sample, (samples,). The loop goes on while any sample does;
those that are done are computed along, and keep what they have.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from odelet.control import Verdict
from odelet.dense import quartic
from odelet_export.emit import ONNX
from odelet_export.forms.loop import Solve, State, Step
from odelet_export.scope import Scope, Value


class SampleSolve(Solve):
    """The loop of one solve of each sample."""

    def _each(self, x: Value) -> Value:
        return self.site.each(x)

    def _some(self, condition: Value) -> Value:
        counted = condition.scope.call("Cast", condition, to=ir.DataType.INT64)
        return condition.scope.call("ReduceSum", counted, keepdims=0) > 0

    def _initial(self) -> State:
        state = super()._initial()
        return state | {"active": self._goes_on(state["now"], state["h"], state["y"])}

    def _body(self, inner: Scope, i: Value, state: State) -> tuple[Value, State, list[Value]]:
        go_on, after, collect = super()._body(inner, i, state)
        return go_on & state["active"], after | {"active": go_on & state["active"]}, collect

    def _admit(self, state: State, verdict: Verdict) -> Verdict:
        active, past = state["active"], [state[f"past_{j}"] for j in range(self.control.memory)]
        kept = [ONNX.where(active, new, old) for new, old in zip(verdict.past, past, strict=True)]
        return Verdict(verdict.accept & active, ONNX.where(active, verdict.h, state["h"]), kept)

    def _attempts(self, state: State, i: Value) -> Value:
        active = state["active"]
        return state["attempted"] + active.scope.call("Cast", active, to=ir.DataType.INT64)

    def _after_jump(self, passes: Value, t1: Value, after: State) -> Value:
        k = super()._after_jump(self._some(passes), t1, after)
        return self.site.layout.choose(passes, k, after["k"], xp=ONNX)

    def _last(self, state: State, accept: Value, step: State) -> State:
        choose = self.site.layout.choose
        rows = ("y0", "mid", "k0", "k1")
        kept = {name: choose(accept, step[name], state[name], xp=ONNX) for name in rows}
        return kept | {name: ONNX.where(accept, step[name], state[name]) for name in ("start", "taken")}

    def _passed(self, now: Value) -> Value:
        reached = now.scope.call("Cast", ONNX.reshape(self.forward, (-1, 1)) <= now, to=ir.DataType.INT64)
        return now.scope.call("ReduceSum", reached, now.scope.constant(np.array([0], np.int64)), keepdims=0)

    def _not_finite(self, rows: Value) -> Value:
        """Of each sample, whether any element is not finite at any time."""
        first, second = (rows.scope.constant(np.array([axis], np.int64)) for axis in (0, 1))
        sums = rows.scope.call("ReduceSum", rows * 0.0, first, keepdims=1)
        layout = self.site.layout
        assert layout.samples is not None
        tables = [ONNX.reshape(p, s) for p, s in zip(layout.parts(sums, xp=ONNX), layout.samples, strict=True)]
        total = rows.scope.call("ReduceSum", tables[0], second, keepdims=0)
        for table in tables[1:]:
            total = total + rows.scope.call("ReduceSum", table, second, keepdims=0)
        return rows.scope.call("IsNaN", total)

    def _over_elements(self, x: Value) -> Value:
        """Numbers (times, samples) over the elements of the state, (times, n)."""
        layout, scope = self.site.layout, self.scope
        assert layout.samples is not None
        column = scope.call("Unsqueeze", x, scope.constant(np.array([2], np.int64)))
        pieces = []
        for part, shape in zip(layout.parts(self.site.y0, xp=ONNX), layout.samples, strict=True):
            table = scope.call("Shape", ONNX.reshape(part, shape))
            wide = scope.call("Expand", column, ONNX.concat([scope.constant(np.array([1], np.int64)), table], axis=0))
            pieces.append(scope.call("Reshape", wide, scope.constant(np.array([0, -1], np.int64))))
        return pieces[0] if len(pieces) == 1 else ONNX.concat(pieces, axis=1)

    def _read(self, target: Value, step: Step, end: Value) -> Value:
        """The state at forward times `target`, (times, samples), from the steps that hold them."""
        like = step.y0
        x = ONNX.cast((target - step.start) / (end - step.start), like)
        h = ONNX.cast(step.h * self.direction, like)
        x, h = self._over_elements(x), self._over_elements(h)
        return quartic(x, h, step.y0, step.y1, step.mid, step.k0, step.k1)

    def _rows(self, end: State, collected: list[Value]) -> Value:
        scope, y0, now = self.scope, self.site.y0, end["now"]
        if self.one_read:
            step = self._step(end)
            begun, taken, ended = (ONNX.reshape(x, (1, -1)) for x in (step.start, step.h, now))
            later = self._read(self.end, step._replace(start=begun, h=taken), ended)
        else:
            later = self._read_many(now, collected)
        reached = self._over_elements(ONNX.reshape(self.forward, (-1, 1)) <= now)
        # The start is there, whatever came of it.
        return ONNX.where(reached, ONNX.concat([y0, later], axis=0), scope.constant(np.nan, y0.dtype))

    def _read_many(self, now: Value, collected: list[Value]) -> Value:
        """The states (times - 1, n) after the first time; what is not reached has any value.

        collected: from every attempted step, stacked; nothing where no sample made one, so the start comes first.
        """
        scope = self.scope
        start, h, y, mid, k, after, y1, k1 = collected
        begun, y0 = ONNX.reshape(self.begun, (1, -1)), self.site.y0

        rank = scope.constant(np.array([1], np.int64))
        rows = [ONNX.concat([y0, scope.call("Squeeze", x, rank)], axis=0) for x in (y, y1, mid, k, k1)]
        start, h, after = (ONNX.concat([begun, x], axis=0) for x in (start, h, after))
        # Time does not move in a rejected step, so the first step that ends at or after a time was accepted.
        targets = ONNX.reshape(self.forward[1:], (-1, 1, 1))
        steps = scope.call("Unsqueeze", after, scope.constant(np.array([0], np.int64)))
        missed = scope.call("Cast", steps < targets, to=ir.DataType.INT64)
        index = scope.call("ReduceSum", missed, rank, keepdims=0)
        last = ONNX.reshape(scope.call("Shape", start, start=0, end=1), ()) - 1
        index = ONNX.minimum(index, last)
        chosen = [scope.call("GatherElements", x, index, axis=0) for x in (start, h, after)]
        wide = self._over_elements(index)
        y, y1, mid, k, k1 = (scope.call("GatherElements", x, wide, axis=0) for x in rows)
        step = Step(chosen[0], chosen[1], y, y1, mid, k, k1)
        return self._read(ONNX.reshape(self.forward[1:], (-1, 1)), step, chosen[2])
