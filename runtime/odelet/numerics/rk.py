"""The one explicit Runge-Kutta step: every tableau, backend and form takes its steps by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from odelet.numerics.backend import Array, Backend, Scalar
from odelet.numerics.tableau import Tableau

# The field f of dy/dt = f(t, y): it takes a time and a state (1, n), and returns the slope (1, n).
Field = Callable[[Scalar, Array], Array]


def erk_step(
    field: Field,
    tableau: Tableau,
    times: Sequence[Scalar],
    y: Array,
    h: Scalar,
    k0: Array | None,
    *,
    xp: Backend,
    h_row: Array | None = None,
) -> tuple[Array, list[Array]]:
    """Take one explicit Runge-Kutta step; return the new state and the slopes of all stages, each (1, n).

    times: of the stages; see `stage_times`. y: (1, n). h: the signed length of the step in the model's unit of time.
    k0: the first slope, or None to evaluate it. h_row: h as a row (1, n), needed where each sample of a batch has its
    own times. Source: Hairer, Norsett & Wanner, Solving ODEs I, sec. II.1, definition 1.1.

    >>> import numpy as np
    >>> from odelet.numerics.backend import NUMPY
    >>> from odelet.numerics.tableau import HEUN2
    >>> times = stage_times(HEUN2, 0.0, 0.5, 0.5)
    >>> y1, slopes = erk_step(lambda t, y: -y, HEUN2, times, np.array([[1.0]]), 0.5, None, xp=NUMPY)
    >>> float(y1[0, 0]), [float(k[0, 0]) for k in slopes]
    (0.625, [-1.0, -0.5])
    """
    h_state = xp.cast(h, y) if h_row is None else h_row
    ks = [field(times[0], y) if k0 is None else k0]
    y1 = y
    for t, row in zip(times[1:], tableau.a[1:], strict=True):
        y1 = xp.combine(y, h_state, row, ks)
        ks.append(field(t, y1))
    if not tableau.reuses_last_stage:
        y1 = xp.combine(y, h_state, tableau.b, ks)
    return y1, ks


def stage_times(tableau: Tableau, t: Scalar, t1: Scalar, h: Scalar) -> list[Scalar]:
    """The times of the stages of a step.

    t, t1, h: the start and the end of the step in the model's unit of time, and its signed length, all of one dtype.
    Stages at node 1 are at `t1`, which a caller may have moved off the end; see `towards_start`.
    """
    # Stage times keep the precision of t: torchdiffeq rounds them to the state's dtype in the field alone.
    return [t, *(t1 if node == 1 else t + node * h for node in tableau.c[1:])]


def towards_start(t: Scalar, direction: Scalar, *, xp: Backend, like: Array) -> Scalar:
    """The floating-point number next to t, on the side the solve came from.

    direction: 1 or -1, as time runs. like: an array of the dtype in which it is the next number; t and direction have
    that dtype. torchdiffeq evaluates stages at node 1 there, so that a field which jumps at the end of a step is seen
    from within the step. Exact for 0 and for all t above 1e-31 in float32, 1e-291 in float64. Source: Rump, Zimmermann,
    Boldo & Melquiond, Computing predecessor and successor in rounding to nearest, BIT 49 (2009), algorithm 1.
    """
    unit, tiny = xp.rounding(like)
    # The source adds `tiny`. ONNX Runtime would round it to float32, find 0, and remove the addition; hence a maximum.
    return t - direction * xp.maximum(abs(t) * (unit * (1 + 2 * unit)), tiny)


def towards_end(t: Scalar, direction: Scalar, *, xp: Backend, like: Array) -> Scalar:
    """The floating-point number next to t, on the side the solve goes to; see `towards_start`."""
    return towards_start(t, -direction, xp=xp, like=like)
