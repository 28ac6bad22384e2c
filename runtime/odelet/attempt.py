"""One attempted step of an adaptive solve, and how the first begins: tableau and control composed.

The driver calls this on numpy arrays; the exporter emits the same text into graphs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from odelet.backend import Array
from odelet.control import Control, error_ratio, initial_step
from odelet.rk import Field, erk_step, towards_start
from odelet.state import Layout
from odelet.tableau import Tableau


class Attempt(NamedTuple):
    """y1: state at the end of the step; k1: last slope, the first of the next step; mid: state in the
    middle (all (1, state)); ratio: of the estimated error to the tolerance, a float64 scalar."""

    y1: Array
    k1: Array
    mid: Array
    ratio: Array


def attempt(
    field: Field,
    tableau: Tableau,
    t: Array,
    h: Array,
    y: Array,
    k0: Array,
    *,
    rtol: Array,
    atol: Array,
    layout: Layout,
    direction: Array,
    xp: Any,
) -> Attempt:
    """Take one step and estimate its error.

    t, h: float64 scalars, h signed by `direction` (1 or -1); y, k0: (1, state), with k0 the last slope of
    the step before. Times are rounded to the state's dtype before the stages use them, and the last slope
    is handed on even where it is not the slope at (t + h, y1): both as in torchdiffeq.
    """
    assert tableau.b_err is not None and tableau.mid is not None
    t_state, h_state = xp.cast(t, y), xp.cast(h, y)
    t1 = towards_start(xp.cast(t + h, y), xp.cast(direction, y), xp=xp, like=y)
    y1, ks = erk_step(field, tableau, t_state, t1, y, h_state, k0, xp=xp)
    err = xp.combine(None, h_state, tableau.b_err, ks)
    ratio = error_ratio(
        err, y, y1, rtol=xp.cast(rtol, y), atol=xp.cast(atol, y), norm=lambda x: layout.norm(x, xp=xp), xp=xp
    )
    return Attempt(y1, ks[-1], xp.combine(y, h_state, tableau.mid, ks), xp.cast(ratio, h))


def begin(
    field: Field,
    t0: Array,
    y0: Array,
    *,
    order: int,
    control: Control,
    rtol: Array,
    atol: Array,
    layout: Layout,
    direction: Array,
    xp: Any,
) -> tuple[Array, Array | None]:
    """The first slope (1, state), and the length of the first step in the state's dtype.

    The length is None when `control.first_step` names it.
    """
    t_state = xp.cast(t0, y0)
    k0 = field(t_state, y0)
    if control.first_step is not None:
        return k0, None
    # The sum t0 + h0 is taken in float64 and rounded once, as torchdiffeq does.
    h = initial_step(
        lambda t, y: field(xp.cast(t, y0), y),
        t0,
        y0,
        k0,
        order=order,
        rtol=xp.cast(rtol, y0),
        atol=xp.cast(atol, y0),
        norm=lambda x: layout.norm(x, xp=xp),
        direction=xp.cast(direction, y0),
        xp=xp,
    )
    return k0, h
