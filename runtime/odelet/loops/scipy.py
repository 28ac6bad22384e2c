"""`scipy.integrate.solve_ivp` as a method: SciPy takes the steps, and the field is all it asks for.

SciPy is optional; it is imported by the first solve that needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from odelet.errors import InputError
from odelet.methods.scipy import SciPy
from odelet.numerics.backend import NumpyArray
from odelet.status import Status

# SciPy's Runge-Kutta methods shrink a step for ever when the slope stays NaN, and its others raise.
_PATIENCE = 100


class SciPyRun(NamedTuple):
    """rows: the state at each output time, (times, n), NaN where it was not reached. time: reached."""

    rows: NumpyArray
    status: Status
    time: float
    evaluations: int


class _NotFiniteError(Exception):
    pass


class _StandstillError(Exception):
    pass


def solve_scipy(
    slope: Callable[[Any, NumpyArray], NumpyArray],
    method: SciPy,
    y0: NumpyArray,
    t: NumpyArray,
    *,
    direction: float,
    rtol: float,
    atol: float,
) -> SciPyRun:
    """Solve from y0 (1, n) and read the states at the times t (times,).

    slope: dy/dt on rows, in the dtype of y0; SciPy itself works in float64. Backwards in time it sees the time
    negated, as torchdiffeq has it. Raises InputError when SciPy is not installed or refuses a setting.
    """
    rows = np.full((t.size, y0.size), np.nan, y0.dtype)
    rows[0] = y0[0]
    calls = stuck = idle = 0
    furthest = -np.inf
    # LSODA goes on for ever with steps that no longer move time. A Jacobian takes a call for each element.
    idle_limit = 1000 + 20 * y0.size

    def field(time: float, y: NumpyArray) -> Any:
        nonlocal calls, stuck, idle, furthest
        calls += 1
        idle = 0 if time > furthest else idle + 1
        furthest = max(furthest, time)
        if idle > idle_limit:
            raise _StandstillError
        # LSODA gives its times as Python floats, and torchdiffeq makes float32 tensors of those, as torch does.
        told = np.float32(time) if type(time) is float else time
        k = slope(y0.dtype.type(direction * told), y.astype(y0.dtype)[None])[0]
        stuck = 0 if np.isfinite(k).all() else stuck + 1
        if stuck and (calls == 1 or stuck > _PATIENCE):
            raise _NotFiniteError
        return direction * k.astype(np.float64)

    if not np.isfinite(y0).all():
        return SciPyRun(rows, Status.NOT_FINITE, float(t[0]), 0)
    if t.size == 1 or not y0.size:
        rows[:] = y0
        return SciPyRun(rows, Status.OK, float(t[-1]), 0)
    forward = direction * t
    options: dict[str, Any] = {"max_step": method.max_step}
    if method.min_step or method.solver == "LSODA":
        options["min_step"] = method.min_step
    try:
        with np.errstate(all="ignore"):
            found = _solve_ivp()(
                field,
                [forward.min(), forward.max()],
                y0[0],
                t_eval=forward,
                method=method.solver,
                rtol=rtol,
                atol=atol,
                **options,
            )
    except _NotFiniteError:
        return SciPyRun(rows, Status.NOT_FINITE, float(t[0]), calls)
    except _StandstillError:
        return SciPyRun(rows, Status.STEP_UNDERFLOW, float(t[0]), calls)
    except ValueError as error:
        if stuck:  # the linear algebra of Radau and BDF refuses what is not finite
            return SciPyRun(rows, Status.NOT_FINITE, float(t[0]), calls)
        raise InputError(f"SciPy refuses the solve: {error}") from None
    reached = np.asarray(found.y).T.astype(y0.dtype)  # an empty list, where not even the first time is kept
    rows[: len(reached)] = reached
    finite = bool(np.isfinite(reached).all())
    if found.success and finite:
        return SciPyRun(rows, Status.OK, float(t[-1]), calls)
    status = Status.STEP_UNDERFLOW if finite and not stuck else Status.NOT_FINITE
    return SciPyRun(rows, status, float(t[max(len(reached) - 1, 0)]), calls)


def _solve_ivp() -> Callable[..., Any]:
    try:
        from scipy.integrate import solve_ivp
    except ImportError:
        raise InputError(
            "method='scipy_solver' needs SciPy, which is not installed; install it with: pip install odelet[scipy]"
        ) from None
    return solve_ivp  # type: ignore[no-any-return]
