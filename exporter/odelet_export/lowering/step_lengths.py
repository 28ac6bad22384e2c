"""Lengths of steps that the model computes: for fixed steps the grid becomes a value of the host graph, as where the
model constructs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from odelet.numerics.grid import MOST_STEPS, Grid
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.lowering.hole import Hole


def with_lengths(graph: ir.Graph, hole: Hole) -> Hole:
    """The hole with a constructed grid in place of a computed length of fixed steps, and with a first step of a name
    that no other value has; any other hole as it is.

    A search for an event has no grid: it takes steps of the length until the event comes.
    """
    scope = Scope.of(graph)
    first = hole.extras.get("first_step")
    if first is not None:
        # The graphs of a driven solve read it by its name, which may be that of an input of theirs.
        copy = scope.call("Identity", first).ir
        copy.name, copy.type, copy.shape = f"solve_{hole.spec.index}.first_step", first.type, first.shape
        return replace(hole, extras=dict(hole.extras) | {"first_step": copy})
    length = hole.extras.get("step_size")
    if length is None or hole.spec.until_event:
        return hole
    t = Value(hole.t, scope) if hole.times is None else scope.constant(hole.times)
    direction = ONNX.cast(ONNX.where(t[0] > t[-1], -1.0, 1.0), t)
    step_size = ONNX.cast(Value(length, scope), t)
    # Without end there is no step, and the grid does not begin with the first time: the solve ends with BAD_TIMES.
    sensible = step_size * MOST_STEPS >= abs(t[-1] - t[0])
    step_size = ONNX.where((step_size > 0) & sensible, step_size, np.inf)
    points = Grid().points(t, direction=direction, step_size=step_size, xp=ONNX)
    points.ir.name = f"solve_{hole.spec.index}.grid"
    points.ir.shape = ir.Shape([None])
    extras = {name: value for name, value in hole.extras.items() if name != "step_size"}
    return replace(hole, extras=extras | {"grid": points.ir})
