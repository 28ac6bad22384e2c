"""The attempted step of an adaptive solve, and the length of the first step: tableau and step size control composed.

Drivers call these functions on numpy arrays; the exporter emits the same text into graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from odelet.numerics.backend import Array, Backend, Scalar
from odelet.numerics.control import error_ratio, initial_step
from odelet.numerics.rk import Field, erk_step, stage_times, towards_start
from odelet.numerics.state import Layout, Tolerance
from odelet.numerics.tableau import Tableau


class Attempt(NamedTuple):
    """An attempted step.

    y1: the state at its end. k1: its last slope, which is the first of the next step. mid: the state in its middle.
    ks: the slopes of all stages. All are (1, n). ratio: the error ratio, in the dtype of h.
    """

    y1: Array
    k1: Array
    mid: Array
    ks: Sequence[Array]
    ratio: Scalar


def attempt(
    field: Field,
    tableau: Tableau,
    t: Scalar,
    t1: Scalar,
    h: Scalar,
    y: Array,
    k0: Array,
    *,
    rtol: Tolerance,
    atol: Tolerance,
    layout: Layout,
    direction: Scalar,
    xp: Backend,
) -> Attempt:
    """Take one step and estimate its error.

    t, t1, h: the start and the end of the step, and its length signed by `direction` (1 or -1), in the dtype of times.
    y: (1, n). k0: the last slope of the step before, (1, n), which is handed on even where it is not the slope at
    (t1, y1), as in torchdiffeq.
    """
    assert tableau.b_err is not None
    times, h_state = attempt_times(tableau, t, t1, h, y, direction=direction, xp=xp), xp.cast(h, y)
    h_row = layout.broadcast(h_state, y, xp=xp)
    y1, ks = erk_step(field, tableau, times, y, h_state, k0, xp=xp, h_row=h_row)
    err = xp.combine(None, h_row, tableau.b_err, ks)
    ratio = error_ratio(err, y, y1, rtol=rtol, atol=atol, layout=layout, xp=xp)
    mid = middle_state(tableau, h_row, y, [ks[i] for i in dense_output_stages(tableau)], xp=xp)
    return Attempt(y1, ks[-1], mid, ks, xp.cast(ratio, h))


def attempt_times(
    tableau: Tableau, t: Scalar, t1: Scalar, h: Scalar, y: Array, *, direction: Scalar, xp: Backend
) -> list[Scalar]:
    """The times of the stages of an attempted step; an attempt evaluates the field at all but the first.

    The arguments are those of `attempt`. Times are rounded to the state's dtype before the stages use them, as in
    torchdiffeq.
    """
    end = towards_start(xp.cast(t1, y), xp.cast(direction, y), xp=xp, like=y)
    return stage_times(tableau, xp.cast(t, y), end, xp.cast(h, y))


def dense_output_stages(tableau: Tableau) -> list[int]:
    """The stages whose slopes dense output needs: the first, the last, and those with a weight in the middle state."""
    assert tableau.mid is not None
    last = len(tableau.mid) - 1
    return [i for i, weight in enumerate(tableau.mid) if weight != 0 or i in (0, last)]


def middle_state(tableau: Tableau, h: Array, y: Array, ks: Sequence[Array], *, xp: Backend) -> Array:
    """The state (1, n) in the middle of a step of length h from y. ks: the slopes of `dense_output_stages`."""
    assert tableau.mid is not None
    return xp.combine(y, h, [tableau.mid[i] for i in dense_output_stages(tableau)], ks)


def first_slope(field: Field, t0: Scalar, y0: Array, *, xp: Backend) -> Array:
    """The slope at the start of a solve, (1, n)."""
    return field(xp.cast(t0, y0), y0)


def slope_after_jump(field: Field, t1: Scalar, y1: Array, *, direction: Scalar, xp: Backend) -> Array:
    """The slope just past t1, a time at which the field may jump: (1, n)."""
    return field(towards_start(xp.cast(t1, y1), xp.cast(-direction, y1), xp=xp, like=y1), y1)


def first_length(
    field: Field,
    t0: Scalar,
    y0: Array,
    k0: Array,
    *,
    order: int,
    rtol: Tolerance,
    atol: Tolerance,
    layout: Layout,
    direction: Scalar,
    xp: Backend,
) -> Scalar:
    """The estimated length of the first step, positive, in the dtype of t0. y0, k0: (1, n)."""
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
