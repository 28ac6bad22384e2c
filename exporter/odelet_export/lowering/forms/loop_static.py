"""The Loop of an adaptive solve in memory of fixed size: it carries all that it needs, and collects nothing.

The rows of the solution are carried from attempt to attempt. A Loop inside the attempt reads the dense output of an
accepted step at the output times that lie in it, one time in each turn.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from odelet.numerics.adaptive_step import Attempt, middle_state
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms.loop import AdaptiveLoop
from odelet_export.lowering.forms.loop_read import Carried, Step


class StaticLoop(AdaptiveLoop):
    """The Loop of one solve, every array of which has a fixed shape where those of the model have one."""

    def _initial(self) -> Carried:
        state, zero = super()._initial(), self.scope.constant(0, np.int64)
        state |= {"attempted": zero, "accepted": zero}
        if self.one_read:
            return state
        count = self.site.count
        assert count is not None, "a solve with any number of output times cannot have this Loop"
        missing = self.scope.constant(np.full((count - 1, 1), np.nan), self.site.y0.dtype)
        rows = ONNX.concat([self.site.y0, missing + self.site.y0 * 0.0], axis=0)
        return state | {"rows": rows, "read": self.scope.constant(1, np.int64)}

    def _counted(self, state: Carried, accept: Value, i: Value) -> tuple[Carried, Value]:
        attempted = state["attempted"] + 1
        accepted = state["accepted"] + accept.scope.call("Cast", accept, to=ir.DataType.INT64)
        return {"attempted": attempted, "accepted": accepted}, attempted

    def _counts(self, end: Carried, collected: Carried) -> Carried:
        return {"steps": end["attempted"], "accepted": end["accepted"]}

    def _collected(self, time: Value) -> Carried:
        return {}

    def _no_step(self, h: Value) -> Carried:
        return super()._no_step(h) | {"start": self.begun, "taken": h}

    def _taken(self, state: Carried, time: Value, accept: Value, tried: Attempt, h: Value) -> tuple[Carried, Carried]:
        if self.one_read:
            carried, _ = super()._taken(state, time, accept, tried, h)
            return carried | {"start": state["now"], "taken": h}, {}
        step = Step(state["now"], h, state["y"], tried.y1, tried.mid, state["k"], tried.k1)
        passed = self._passed(time)
        count = self.site.count
        assert count is not None
        places = self.scope.constant(np.arange(count)[:, None])

        def read(_inner: Scope, j: Value, rows: Value) -> tuple[None, list[Value], list[Value]]:
            place = state["read"] + j
            row = self._read(self.forward[place], step, time)
            return None, [ONNX.where(ONNX.equal(places, place), row, rows)], []

        # Time does not move in a rejected step, so that no output time is passed.
        (rows,), _ = passed.scope.loop(read, passed - state["read"], None, [state["rows"]])
        return {"rows": rows, "read": passed}, {}

    def _step(self, end: Carried, collected: Carried) -> Step:
        ks = [end["ks"][j : j + 1] for j in range(len(self.read_stages))]
        mid = middle_state(self.tableau, end["taken"], end["y0"], ks, xp=ONNX)
        return Step(end["start"], end["taken"], end["y0"], end["y"], mid, ks[0], ks[-1])

    def _rows(self, end: Carried, collected: Carried) -> Value:
        return super()._rows(end, collected) if self.one_read else end["rows"]
