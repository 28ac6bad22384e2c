"""Steps along a grid that was chosen beforehand, each with its error estimate.

Times may be numpy arrays while states are values of a graph: what follows from times alone is then a constant there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from odelet.numerics.backend import NUMPY, Array, Backend, NumpyArray, Scalar
from odelet.numerics.interpolation import quartic_weights
from odelet.numerics.rk import Field, erk_step, stage_times, towards_start
from odelet.numerics.state import Layout, Tolerance
from odelet.numerics.tableau import Tableau


class GridPath(NamedTuple):
    """The steps of a solve along a grid.

    states, slopes: at the points of the grid, one more than there are steps. middles: the state in the middle of each
    step. All are lists of rows (1, n). errors: the error estimate of each step, (steps, n).
    """

    states: list[Array]
    slopes: list[Array]
    middles: list[Array]
    errors: Array


def scaled_grid(t: Array, positions: Array, *, xp: Backend) -> Array:
    """The grid (steps + 1,) in the model's unit of time, from the first output time in t (times,) to the last.

    positions: the grid as fractions of that range, (steps + 1,), rising from 0 to 1, in the dtype of t.
    """
    span = t[-1:] - t[:1]
    return xp.concat([t[:1] + positions[:-1] * span, t[-1:]], axis=0)


def take_steps(
    field: Field, tableau: Tableau, points: Array, y0: Array, *, steps: int, direction: Scalar, xp: Backend
) -> GridPath:
    """Take one step of an embedded pair for each interval of a grid; each step computes what `attempt` does.

    points: (steps + 1,), in the dtype of times. direction: 1 or -1, as the times run. y0: (1, n). Evaluates the field
    once, and then as often in every step as `attempt` does.
    """
    assert tableau.b_err is not None and tableau.mid is not None
    clock: Backend = NUMPY if isinstance(points, np.ndarray) else xp
    times, ends, lengths = _times(points, y0, direction=direction, xp=clock)
    path = GridPath([y0], [field(times[0], y0)], [], None)
    errors = []
    for i in range(steps):
        y, h = path.states[-1], lengths[i]
        y1, ks = erk_step(field, tableau, stage_times(tableau, times[i], ends[i], h), y, h, path.slopes[-1], xp=xp)
        path.middles.append(xp.combine(y, h, tableau.mid, ks))
        # The last slope is left out here and added below: a graph already holds the others stacked, as the sum that
        # makes the last stage reads them.
        errors.append(xp.combine(None, h, tableau.b_err[:-1], ks[:-1]))
        path.states.append(y1)
        path.slopes.append(ks[-1])
    total = xp.concat(errors, axis=0)
    if tableau.b_err[-1] != 0:
        weights = clock.reshape(lengths * lengths.dtype.type(tableau.b_err[-1]), (-1, 1))
        total = total + xp.concat(path.slopes[1:], axis=0) * weights
    return path._replace(errors=total)


def evaluation_times(tableau: Tableau, points: Array, y0: Array, *, direction: Scalar, xp: Backend) -> Array:
    """The times at which `take_steps` evaluates the field, one after the other. The arguments are those of it."""
    clock: Backend = NUMPY if isinstance(points, np.ndarray) else xp
    times, ends, lengths = _times(points, y0, direction=direction, xp=clock)
    stages = stage_times(tableau, times[:-1], ends, lengths)[1:]
    columns = clock.concat([clock.reshape(some, (-1, 1)) for some in stages], axis=1)
    return clock.concat([times[:1], clock.reshape(columns, (-1,))], axis=0)


def _times(points: Array, y0: Array, *, direction: Scalar, xp: Backend) -> tuple[Array, Array, Array]:
    """The points of the grid, the times of stages at the ends of steps, and the lengths of the steps, in the dtype of
    the state."""
    times, lengths = xp.cast(points, y0), xp.cast(points[1:] - points[:-1], y0)
    return times, towards_start(times[1:], xp.cast(direction, y0), xp=xp, like=y0), lengths


def error_ratios(path: GridPath, *, rtol: Tolerance, atol: Tolerance, layout: Layout, xp: Backend) -> Array:
    """The error ratio of each step: (steps, samples), with one column for a state that is solved as a whole.

    At most 1 is good. A ratio is infinite where a state is not finite or an error estimate is NaN. The layout may have
    no `user_norm`. All steps go through few operations together, as each operation costs more than its arithmetic.
    """
    before, after = (abs(xp.concat(some, axis=0)) for some in (path.states[:-1], path.states[1:]))
    allowed = layout.allowed_error(xp.maximum(before, after), rtol=rtol, atol=atol, xp=xp)
    errors = xp.cast(path.errors, allowed)
    # Any error is small against an infinite state. Zero times infinity is NaN, which the last line makes infinite.
    scaled = (errors + allowed * 0.0) / allowed
    ratios, *others = (xp.rms(table, axis=2) for table in layout.tables(scaled, len(path.middles), xp=xp))
    for norms in others:
        ratios = xp.maximum(ratios, norms)
    return xp.where(ratios >= 0, ratios, np.inf)


def interpolate(path: GridPath, points: NumpyArray, t: NumpyArray, *, xp: Backend) -> Array:
    """The states (times, n) at times t, read off the quartic of the step that each lies in, as adaptive methods do.

    points: the grid, (steps + 1,). t: (times,), from the first point of the grid to the last. Both are numpy arrays, so
    that the weights of the quartics are constants in a graph.
    """
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
