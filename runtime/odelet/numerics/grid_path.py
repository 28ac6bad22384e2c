"""Steps along a grid that was chosen beforehand, each with its error estimate: the text of the form `bounded`.

Written for arrays of any backend; times may be numpy's while states are values of a graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from odelet.numerics.backend import NUMPY, Array
from odelet.numerics.interpolation import quartic_weights
from odelet.numerics.rk import Field, erk_step, towards_start
from odelet.numerics.state import Layout, Tolerance
from odelet.numerics.tableau import Tableau


class GridPath(NamedTuple):
    """states, slopes: where steps begin and end, one more than there are steps; middles: of each step. All rows (1, n).
    errors: the estimates, (steps, n)."""

    states: list[Array]
    slopes: list[Array]
    middles: list[Array]
    errors: Array


def scaled_grid(t: Array, positions: Array, *, xp: Any) -> Array:
    """The grid (steps + 1,) in the model's times, from the first of t (times,) to the last, whichever way.

    positions: (steps + 1,), rising from 0 to 1, in the dtype of t.
    """
    span = t[-1:] - t[:1]
    return xp.concat([t[:1] + positions[:-1] * span, t[-1:]], axis=0)


def take_steps(
    field: Field, tableau: Tableau, points: Array, y0: Array, *, steps: int, direction: Array, xp: Any
) -> GridPath:
    """Take one step of an embedded pair for each interval of a grid; what it does in each is `attempt.attempt`.

    points: (steps + 1,), in the dtype of times. direction: 1 or -1, as they run. y0: (1, state). Calls the field once,
    and then as often as `attempt` does in every step.
    """
    assert tableau.b_err is not None and tableau.mid is not None
    clock = NUMPY if isinstance(points, np.ndarray) else xp
    times, lengths = clock.cast(points, y0), clock.cast(points[1:] - points[:-1], y0)
    ends = towards_start(times[1:], clock.cast(direction, y0), xp=clock, like=y0)
    path = GridPath([y0], [field(times[0], y0)], [], None)
    errors = []
    for i in range(steps):
        y, h = path.states[-1], lengths[i]
        y1, ks = erk_step(field, tableau, times[i], ends[i], y, h, path.slopes[-1], xp=xp)
        path.middles.append(xp.combine(y, h, tableau.mid, ks))
        # Of all slopes but the last: a graph has those side by side already, as the last stage is made of them.
        errors.append(xp.combine(None, h, tableau.b_err[:-1], ks[:-1]))
        path.states.append(y1)
        path.slopes.append(ks[-1])
    total = xp.concat(errors, axis=0)
    if tableau.b_err[-1] != 0:
        weights = clock.reshape(lengths * lengths.dtype.type(tableau.b_err[-1]), (-1, 1))
        total = total + xp.concat(path.slopes[1:], axis=0) * weights
    return path._replace(errors=total)


def error_ratios(path: GridPath, *, rtol: Tolerance, atol: Tolerance, layout: Layout, xp: Any) -> Array:
    """How large the estimated error of each step is, over what the tolerances allow: (steps, samples), one column for a
    state that is one whole. At most 1 is good; infinite where a state is not finite or an estimate not a number.

    Few operations for all steps at once, as each of them costs more than its arithmetic. Not for a norm of the user's.
    """
    before, after = (abs(xp.concat(some, axis=0)) for some in (path.states[:-1], path.states[1:]))
    allowed = layout.allowed_error(xp.maximum(before, after), rtol=rtol, atol=atol, xp=xp)
    errors = xp.cast(path.errors, allowed)
    # Anything is small against an infinite state; zero times infinity is not a number.
    scaled = (errors + allowed * 0.0) / allowed
    found, *others = (xp.rms(table, axis=2) for table in layout.tables(scaled, len(path.middles), xp=xp))
    for norms in others:
        found = xp.maximum(found, norms)
    return xp.where(found >= 0, found, np.inf)


def interpolate(path: GridPath, points: Any, t: Any, *, xp: Any) -> Array:
    """The states (times, n) at known times t, the first and the last of which are those of the grid: each is read off
    the quartic of its step, as adaptive methods do, whose weights are known where the times are."""
    if len(t) <= 2:
        return path.states[0] if len(t) == 1 else xp.concat([path.states[0], path.states[-1]], axis=0)
    like = path.states[0]
    direction = np.sign(points[-1] - points[0])
    index = np.searchsorted(direction * points[1:], direction * t[1:-1])
    rows = [like]
    for i in np.unique(index):
        inside = t[1:-1][index == i]
        x = ((inside - points[i]) / (points[i + 1] - points[i])).astype(like.dtype)
        h = like.dtype.type(points[i + 1] - points[i])
        weights = np.stack(quartic_weights(x, h), axis=1)
        ends = [path.states[i], path.states[i + 1], path.middles[i], path.slopes[i], path.slopes[i + 1]]
        rows.append(xp.matmul(weights, xp.concat(ends, axis=0)))
    return xp.concat([*rows, path.states[-1]], axis=0)
