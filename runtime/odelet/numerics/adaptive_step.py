"""One attempted step of an adaptive solve, and how the first begins: tableau and control composed.

The driver calls this on numpy arrays; the exporter emits the same text into graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from odelet.numerics.backend import Array
from odelet.numerics.control import error_ratio, initial_step
from odelet.numerics.rk import Field, erk_step, towards_start
from odelet.numerics.state import Layout, Tolerance
from odelet.numerics.tableau import Tableau


class Attempt(NamedTuple):
    """y1: state at the end of the step; k1: last slope, the first of the next step; mid: state in the
    middle; ks: slopes of all stages (all (1, state)); ratio: of the estimated error to the tolerance, a scalar in the
    dtype of h."""

    y1: Array
    k1: Array
    mid: Array
    ks: Sequence[Array]
    ratio: Array


def attempt(
    field: Field,
    tableau: Tableau,
    t: Array,
    t1: Array,
    h: Array,
    y: Array,
    k0: Array,
    *,
    rtol: Tolerance,
    atol: Tolerance,
    layout: Layout,
    direction: Array,
    xp: Any,
) -> Attempt:
    """Take one step and estimate its error.

    t, t1, h: scalars in the dtype of times (one for each sample where the layout tells samples apart): the ends
    of the step, and its length signed by `direction` (1 or -1); y, k0: (1, state), with k0 the last slope of the
    step before. Times are rounded to the state's dtype before the stages use them, and the last slope is handed
    on even where it is not the slope at (t1, y1): both as in torchdiffeq.
    """
    assert tableau.b_err is not None
    t_state, h_state = xp.cast(t, y), xp.cast(h, y)
    end = towards_start(xp.cast(t1, y), xp.cast(direction, y), xp=xp, like=y)
    h_row = layout.broadcast(h_state, y, xp=xp)
    y1, ks = erk_step(field, tableau, t_state, end, y, h_state, k0, xp=xp, h_row=h_row)
    err = xp.combine(None, h_row, tableau.b_err, ks)
    ratio = error_ratio(err, y, y1, rtol=rtol, atol=atol, layout=layout, xp=xp)
    mid = middle_state(tableau, h_row, y, [ks[i] for i in dense_output_stages(tableau)], xp=xp)
    return Attempt(y1, ks[-1], mid, ks, xp.cast(ratio, h))


def dense_output_stages(tableau: Tableau) -> list[int]:
    """The stages whose slopes reading within a step takes: the first, those that the middle is made of, the last."""
    assert tableau.mid is not None
    last = len(tableau.mid) - 1
    return [i for i, weight in enumerate(tableau.mid) if weight != 0 or i in (0, last)]


def middle_state(tableau: Tableau, h: Array, y: Array, ks: Sequence[Array], *, xp: Any) -> Array:
    """The state in the middle of a step of length h from y, (1, state). ks: the slopes of `dense_output_stages`."""
    assert tableau.mid is not None
    return xp.combine(y, h, [tableau.mid[i] for i in dense_output_stages(tableau)], ks)


def first_slope(field: Field, t0: Array, y0: Array, *, xp: Any) -> Array:
    """The slope at the start, (1, state)."""
    return field(xp.cast(t0, y0), y0)


def slope_after_jump(field: Field, t1: Array, y1: Array, *, direction: Array, xp: Any) -> Array:
    """The slope just past t1, where the field may jump: (1, state)."""
    return field(towards_start(xp.cast(t1, y1), xp.cast(-direction, y1), xp=xp, like=y1), y1)


def first_length(
    field: Field,
    t0: Array,
    y0: Array,
    k0: Array,
    *,
    order: int,
    rtol: Tolerance,
    atol: Tolerance,
    layout: Layout,
    direction: Array,
    xp: Any,
) -> Array:
    """Estimate the length of the first step, positive, in the dtype of t0; y0, k0: (1, state)."""
    # The sum t0 + h0 is taken in the dtype of times and rounded once, as torchdiffeq does.
    h = initial_step(
        lambda t, y: field(xp.cast(t, y0), y),
        t0,
        y0,
        k0,
        order=order,
        rtol=rtol,
        atol=atol,
        layout=layout,
        direction=direction,
        xp=xp,
    )
    return xp.cast(h, t0)
