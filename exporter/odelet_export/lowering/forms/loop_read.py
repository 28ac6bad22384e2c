"""The states of an adaptive solve inside a graph at the output times, from the dense output of its steps.

For one time after the first, the Loop carries the last step. For several, it collects all attempted steps.
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

Carried = dict[str, Value]  # the values that an iteration of a Loop passes to the next, or collects, by name


class Step(NamedTuple):
    """The values of a step that dense output needs: its forward start time; its length h, signed, in the state's dtype;
    the states at both ends and in the middle; and the slopes at both ends."""

    start: Value
    h: Value
    y0: Value
    y1: Value
    mid: Value
    k0: Value
    k1: Value


class Reading:
    """Dense output of a solve.

    number: the dtype of times. direction: 1 or -1 in that dtype. forward: the output times (times,) times direction,
    so that they increase; begun is the first of them and end the last. first_k: the slope at the start. read_stages:
    see `dense_output_stages`. one_read: whether there is only one output time after the first.
    """

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
        """A stand-in for the last step before the first one is accepted. h: the length of the first attempt."""
        return {"y0": self.site.y0, "ks": ONNX.concat([self.first_k] * len(self.read_stages), axis=0)}

    def _taken(self, state: Carried, time: Value, accept: Value, tried: Attempt, h: Value) -> tuple[Carried, Carried]:
        """The values of an attempted step that dense output needs: the values to carry, and the values to collect.

        time: where the solve is after the attempt. h: the length of the attempt, signed, in the state's dtype.
        """
        if not self.one_read:
            ends = ONNX.concat([state["y"], tried.y1, tried.mid, state["k"], tried.k1], axis=0)
            return {}, {"h": h, "ends": ends}
        # The loop ends with a step that was accepted, so there is nothing to choose.
        return {"y0": state["y"], "ks": ONNX.concat([tried.ks[i] for i in self.read_stages], axis=0)}, {"h": h}

    def _step(self, end: Carried, collected: Carried) -> Step:
        """The last step, whose dense output is read."""
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
        """The state (1, n) at the forward time `target`, from the step that it lies in. end: the end of that step."""
        like = step.y0
        x = ONNX.cast((target - step.start) / (end - step.start), like)
        weights = [ONNX.reshape(weight, (1, 1)) for weight in quartic_weights(x, step.h)]
        return ONNX.matmul(ONNX.concat(weights, axis=1), ONNX.concat(list(step[2:]), axis=0))

    def _read_many(self, now: Value, collected: Carried) -> Value:
        """The states (times - 1, n) at the output times after the first, NaN after `now`.

        collected: the values from all attempted steps, stacked; empty where a solve failed before its first attempt.
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
        # A step starts where the step before it ended.
        starts = ONNX.concat([ONNX.reshape(self.begun, (1,)), after], axis=0)
        begun, lengths, ended = (ONNX.reshape(x[index], (-1, 1, 1)) for x in (starts, collected["h"], after))
        x = ONNX.cast((targets - begun) / (ended - begun), y0)
        weights = ONNX.concat(list(quartic_weights(x, lengths)), axis=2)
        # Where no step was attempted, the collected ends have no elements, and a shape that has lost the 5 and n.
        shape = ONNX.concat([count, five, width], axis=0)
        ends = ONNX.reshape(collected["ends"][index], shape)
        rows = scope.call("Squeeze", ONNX.matmul(weights, ends), scope.constant(np.array([1], np.int64)))
        missing = scope.call("Shape", later) - count
        pads = ONNX.concat([zero, zero, missing, zero], axis=0)
        return scope.call("Pad", rows, pads, scope.constant(np.nan, y0.dtype))
