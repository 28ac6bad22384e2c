"""How the output times of an adaptive solve inside a graph are read off its steps.

One time is read from the last step, which the loop carries; many from all attempted steps, which it collects.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from odelet.numerics.adaptive_step import Attempt, middle_state
from odelet.numerics.interpolation import quartic_weights
from odelet.numerics.tableau import Tableau
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.forms.site import Site

Carried = dict[str, Value]  # what an iteration hands to the next, or leaves behind


class Step(NamedTuple):
    """What reading needs of a step: its start (forward), its length (signed, in the state's dtype), both ends, the
    middle, both slopes."""

    start: Value
    h: Value
    y0: Value
    y1: Value
    mid: Value
    k0: Value
    k1: Value


class Reading:
    """The reading of a solve. number: the dtype of times; direction: in it; forward: the output times as they run
    forward, the first of them begun, the last end; first_k: the slope at the start; read_stages: see
    `dense_output_stages`; one_read: whether there is but one time after the first."""

    site: Site
    scope: Scope
    tableau: Tableau
    number: np.dtype[Any]
    direction: Any
    forward: Value
    begun: Value
    end: Value
    first_k: Value
    read_stages: list[int]
    one_read: bool

    def _no_step(self, h: Value) -> Carried:
        """What stands for the step to read from until there is one. h: the length of the first one to try."""
        return {"y0": self.site.y0, "ks": ONNX.concat([self.first_k] * len(self.read_stages), axis=0)}

    def _taken(self, state: Carried, accept: Value, tried: Attempt, h: Value) -> tuple[Carried, Carried]:
        """What reading needs of a step, to carry and to collect. h: its length, signed, in the state's dtype."""
        if not self.one_read:
            ends = ONNX.concat([state["y"], tried.y1, tried.mid, state["k"], tried.k1], axis=0)
            return {}, {"h": h, "ends": ends}
        # The loop ends with a step that was accepted, so there is nothing to choose.
        return {"y0": state["y"], "ks": ONNX.concat([tried.ks[i] for i in self.read_stages], axis=0)}, {"h": h}

    def _step(self, end: Carried, collected: Carried) -> Step:
        """The step to read from."""
        y0 = end["y0"]
        start, h = ONNX.reshape(self.begun, (1,)), self.scope.constant(np.zeros(1, y0.dtype))
        start = ONNX.concat([start, start, collected["now"]], axis=0)[-2]
        h = ONNX.concat([h, collected["h"]], axis=0)[-1]
        ks = [end["ks"][j : j + 1] for j in range(len(self.read_stages))]
        mid = middle_state(self.tableau, h, y0, ks, xp=ONNX)
        return Step(start, h, y0, end["y"], mid, ks[0], ks[-1])

    def _rows(self, end: Carried, collected: Carried) -> Value:
        """The states (times, n) at the output times, NaN where they were not reached."""
        now, y0 = end["now"], self.site.y0
        if not self.one_read:
            return ONNX.concat([y0, self._read_many(now, collected)], axis=0)
        later = self._read(self.end, self._step(end, collected), now)
        reached = ONNX.reshape(self.forward <= now, (-1, 1))
        return ONNX.where(reached, ONNX.concat([y0, later], axis=0), self.scope.constant(np.nan, y0.dtype))

    def _read(self, target: Value, step: Step, end: Value) -> Value:
        """The state (1, n) at a forward time, from the step that holds it."""
        like = step.y0
        x = ONNX.cast((target - step.start) / (end - step.start), like)
        weights = [ONNX.reshape(weight, (1, 1)) for weight in quartic_weights(x, step.h)]
        return ONNX.matmul(ONNX.concat(weights, axis=1), ONNX.concat(list(step[2:]), axis=0))

    def _read_many(self, now: Value, collected: Carried) -> Value:
        """The states (times - 1, n) after the first time, NaN after `now`.

        collected: from every attempted step, stacked; nothing where a solve failed before its first.
        """
        scope, y0 = self.scope, self.site.y0
        first, later = self.forward[0], self.forward[1:]
        zero, five = (scope.constant(np.array([i], np.int64)) for i in (0, 5))
        width = scope.call("Shape", y0, start=1)
        reached = scope.call("Cast", (later > first) & (later <= now), to=ir.DataType.INT64)
        count = scope.call("ReduceSum", reached, keepdims=1)
        targets = ONNX.reshape(scope.call("Slice", later, zero, count), (-1, 1, 1))
        # Time does not move in a rejected step, so the first step that ends at or after a time was accepted.
        after = collected["now"]
        missed = ONNX.reshape(after, (1, 1, -1)) < targets
        axes = scope.constant(np.array([1, 2], np.int64))
        index = scope.call("ReduceSum", scope.call("Cast", missed, to=ir.DataType.INT64), axes, keepdims=0)
        index = ONNX.minimum(index, ONNX.row_count(after) - 1)
        # A step starts when the one before it left off.
        starts = ONNX.concat([ONNX.reshape(self.begun, (1,)), after], axis=0)
        begun, taken, ended = (ONNX.reshape(x[index], (-1, 1, 1)) for x in (starts, collected["h"], after))
        x = ONNX.cast((targets - begun) / (ended - begun), y0)
        weights = ONNX.concat(list(quartic_weights(x, taken)), axis=2)
        # Where there was no step, what was collected has no elements, and not the shape of none either.
        shape = ONNX.concat([count, five, width], axis=0)
        ends = ONNX.reshape(collected["ends"][index], shape)
        rows = scope.call("Squeeze", ONNX.matmul(weights, ends), scope.constant(np.array([1], np.int64)))
        missing = scope.call("Shape", later) - count
        pads = ONNX.concat([zero, zero, missing, zero], axis=0)
        return scope.call("Pad", rows, pads, scope.constant(np.nan, y0.dtype))
