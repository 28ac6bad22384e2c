"""The loop of `scipy.integrate.solve_ivp`: SciPy takes the steps, and asks for nothing but the field.

SciPy is optional; it is imported by the first solve that needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.fixed import NO_LIMITS, Slope
from odelet.loops.limits import Limits
from odelet.loops.run import SolveRun, rows_from
from odelet.methods.scipy import SciPy
from odelet.numerics.backend import NumpyArray
from odelet.status import Status

# SciPy's Runge-Kutta methods shrink a step for ever when the slope stays NaN, and its other methods raise.
_MOST_NOT_FINITE = 100


class _NotFiniteError(Exception):
    pass


class _StandstillError(Exception):
    pass


class _LimitError(Exception):
    """A limit was reached; args[0] is the status."""


class _Field:
    """The field as SciPy calls it; it raises to end a solve that SciPy would never end, or not in time.

    dtype, size: those of the state. direction: 1 or -1; backwards in time SciPy sees the time negated, as in
    torchdiffeq. calls: the number of evaluations so far. not_finite: the number of evaluations in a row that gave a
    slope that is infinite or NaN.
    """

    def __init__(self, slope: Slope, dtype: np.dtype[Any], size: int, direction: float, limits: Limits) -> None:
        self._limits = limits
        self._slope, self._dtype, self._direction = slope, dtype, direction
        self.calls = self.not_finite = 0
        self._furthest, self._idle = -np.inf, 0
        # LSODA goes on for ever with steps that no longer move time. A Jacobian takes a call for each element.
        self._most_idle = 1000 + 20 * size

    def __call__(self, time: float, y: NumpyArray) -> NumpyArray:
        """The slope (n,) in float64, at a forward time and a state (n,). Raises _StandstillError where time no longer
        moves, _NotFiniteError where slopes stay infinite or NaN, _LimitError at a limit of evaluations or time."""
        exceeded = self._limits.exceeded(self.calls, 1, steps=None, time=self._direction * float(time))
        if exceeded is not Status.OK:
            raise _LimitError(exceeded)
        self.calls += 1
        self._idle = 0 if time > self._furthest else self._idle + 1
        self._furthest = max(self._furthest, time)
        if self._idle > self._most_idle:
            raise _StandstillError
        # LSODA gives its times as Python floats, and torchdiffeq makes float32 tensors of them, as torch does.
        rounded = np.float32(time) if type(time) is float else time
        k = self._slope(self._dtype.type(self._direction * rounded), y.astype(self._dtype)[None])[0]
        self.not_finite = 0 if np.isfinite(k).all() else self.not_finite + 1
        if self.not_finite and (self.calls == 1 or self.not_finite > _MOST_NOT_FINITE):
            raise _NotFiniteError
        slope: NumpyArray = self._direction * k.astype(np.float64)
        return slope


def solve_scipy(
    slope: Slope,
    method: SciPy,
    y0: NumpyArray,
    t: NumpyArray,
    *,
    direction: float,
    rtol: float,
    atol: float,
    limits: Limits = NO_LIMITS,
) -> SolveRun:
    """Solve from y0 (1, n) and read the states at the times t (times,).

    slope: the field, in the dtype of y0; SciPy itself works in float64. limits: after one of evaluations or time, the
    states are NaN, as SciPy gives no state of a solve that was stopped. Raises InputError when SciPy is not installed
    or refuses a setting.
    """
    rows = rows_from(y0, t.size)
    field = _Field(slope, y0.dtype, y0.size, direction, limits)

    def run(status: Status, last: int) -> SolveRun:
        return SolveRun(rows=rows, status=status, time=float(t[last]), evaluations=field.calls)

    if not np.isfinite(y0).all():
        return run(Status.NOT_FINITE, 0)
    if t.size == 1 or not y0.size:
        rows[:] = y0
        return run(Status.OK, -1)
    forward = direction * t
    options: dict[str, Any] = {"t_eval": forward, "method": method.solver, "max_step": method.max_step}
    if method.min_step or method.solver == "LSODA":
        options["min_step"] = method.min_step
    try:
        with np.errstate(all="ignore"):
            result = _solve_ivp()(field, [forward.min(), forward.max()], y0[0], rtol=rtol, atol=atol, **options)
    except _NotFiniteError:
        return run(Status.NOT_FINITE, 0)
    except _LimitError as error:
        return run(error.args[0], 0)
    except _StandstillError:
        return run(Status.STEP_UNDERFLOW, 0)
    except ValueError as error:
        if field.not_finite:  # the linear algebra of Radau and BDF refuses numbers that are not finite
            return run(Status.NOT_FINITE, 0)
        raise InputError(f"SciPy refuses the solve: {error}") from None
    reached = np.asarray(result.y).T.astype(y0.dtype)  # SciPy gives an empty list if it did not keep the first time
    rows[: len(reached)] = reached
    finite = bool(np.isfinite(reached).all())
    if result.success and finite:
        return run(Status.OK, -1)
    return run(
        Status.STEP_UNDERFLOW if finite and not field.not_finite else Status.NOT_FINITE, max(len(reached) - 1, 0)
    )


def _solve_ivp() -> Callable[..., Any]:
    try:
        from scipy.integrate import solve_ivp
    except ImportError:
        raise InputError(
            "method='scipy_solver' needs SciPy, which is not installed; install it with: pip install odelet[scipy]"
        ) from None
    function: Callable[..., Any] = solve_ivp
    return function
