"""One explicit Runge-Kutta step. There is no other in odelet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odelet.numerics.backend import Array
from odelet.numerics.tableau import Tableau

Field = Callable[[Array, Array], Array]


def erk_step(
    field: Field,
    tableau: Tableau,
    t: Array,
    t1: Array,
    y: Array,
    h: Array,
    k0: Array | None,
    *,
    xp: Any,
    h_row: Array | None = None,
) -> tuple[Array, list[Array]]:
    """Take one explicit Runge-Kutta step.

    t, t1, h: scalars of one dtype, the two ends of the step in the model's unit of time and its signed length;
    stages at node 1 are taken at `t1`, which a caller may have moved off the end. y: (1, state). k0: the slope
    at (t, y), or None to evaluate it. h_row: h as it multiplies slopes, (1, state), where each sample of a batch
    has its own times. Returns the new state and the slopes of all stages, each (1, state).
    Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.1, definition 1.1.
    """
    # Stage times keep the precision of t: torchdiffeq rounds them to the state's dtype in the field alone.
    h_state = xp.cast(h, y) if h_row is None else h_row
    ks = [field(t, y) if k0 is None else k0]
    y1 = y
    for node, row in zip(tableau.c[1:], tableau.a[1:], strict=True):
        y1 = xp.combine(y, h_state, row, ks)
        ks.append(field(t1 if node == 1 else t + node * h, y1))
    if not tableau.reuses_last_stage:
        y1 = xp.combine(y, h_state, tableau.b, ks)
    return y1, ks


def towards_start(t: Array, direction: Array, *, xp: Any, like: Array) -> Array:
    """The floating-point number next to t, on the side the solve came from.

    torchdiffeq evaluates stages at node 1 there, so that a field which jumps at the end of a step is seen
    from within the step. Exact for 0 and for all t above 1e-31 in float32, 1e-291 in float64. Source: Rump,
    Zimmermann, Boldo & Melquiond, Computing predecessor and successor in rounding to nearest, BIT 49
    (2009), algorithm 1.
    """
    unit, tiny = xp.rounding(like)
    # The source adds `tiny`, but ONNX Runtime rounds it to float32, finds 0, and removes the sum.
    return t - direction * xp.maximum(abs(t) * (unit * (1 + 2 * unit)), tiny)


def towards_end(t: Array, direction: Array, *, xp: Any, like: Array) -> Array:
    """The floating-point number next to t, on the side the solve goes to; see `towards_start`."""
    return towards_start(t, -direction, xp=xp, like=like)
