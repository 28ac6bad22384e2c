"""The function `sdeint`, which solves an SDE whose functions are Python's, on numpy arrays, without a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from odelet.errors import InputError
from odelet.loops.fixed import solve_on_grid
from odelet.loops.limits import DEFAULT_MAX_STEPS, Limits
from odelet.loops.options import limits_of
from odelet.loops.sde_problem import SdeCall, SdeKind
from odelet.loops.sde_steps import ArraySdeStepper, SdeGridStepper
from odelet.loops.solution import Solution
from odelet.loops.stats import FunctionSolve, SolveStats, Stats
from odelet.loops.step_doubling import solve_by_doubling
from odelet.numerics.backend import NumpyArray
from odelet.numerics.control import StepDoubling
from odelet.numerics.grid import Grid, accumulated_points


def sdeint(
    f: Callable[..., Any],
    g: Callable[..., Any],
    y0: Any,
    t: Any,
    *,
    sde_type: str = "ito",
    noise_type: str = "diagonal",
    method: str | None = None,
    dt: float = 1e-3,
    adaptive: bool = False,
    rtol: float = 1e-5,
    atol: float = 1e-4,
    dt_min: float = 1e-5,
    options: Mapping[str, Any] | None = None,
    correction: Callable[..., Any] | None = None,
    seed: int | None = None,
    noise: Mapping[str, Any] | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    max_evals: int | None = None,
    deadline: float | None = None,
) -> Solution:
    """Solve dy = f(t, y) dt + g(t, y) dW, y(t[0]) = y0, as `torchsde.sdeint` would, with numpy alone.

    f, g: called with t, a scalar in the dtype of the times, and y (batch, d); f returns (batch, d), and g (batch, d)
    for diagonal noise, else (batch, d, m) for m channels. y0: float32 or float64. t: increasing (times,); steps do not
    end at these times, and states are read off straight lines. sde_type: "ito" or "stratonovich". noise_type:
    "diagonal", "additive", "scalar" (m = 1) or "general". method: "euler", "milstein", "srk"; in the Stratonovich sense
    "euler_heun", "heun", "midpoint", "milstein", "reversible_heun", "log_ode".

    dt: the length of a step. adaptive: compare each step (the first: dt) with two of half its length, and choose steps
    whose difference is within rtol and atol; one of the length dt_min is accepted in any case. options: grad_free for
    "milstein", to take a difference in the place of derivatives; levy for "log_ode", "foster" or "davie".

    correction: the derivative term of "milstein", a function of t, y and v (batch, m) that returns the sum over j and l
    of g_jl dg_jl/dy_i v_l; or of "log_ode", of t, y and a (batch, m, m), the sum over j, k, l of dg_il/dy_j g_jk a_kl.

    seed: the same seed gives a row the same Brownian motion in every batch, but for adaptive steps, which follow the
    whole batch, only along the same steps. noise: in its place, what `Solution.noise` has; or standard normal numbers
    "w", and "h" and "area" where the method takes them, (steps, batch, m), or (steps, batch, m, m) for the area; for
    adaptive steps "key", int64 (batch,). max_steps, max_evals, deadline: as in `odeint`.

    Returns a Solution with the output `y` (times, batch, d). Raises InputError for arguments that cannot work; a solve
    that fails is a status, and a RuntimeWarning tells of errors above the tolerance.

    >>> import numpy as np, odelet
    >>> drift, diffusion = lambda t, y: -y, lambda t, y: np.full_like(y, 0.5)
    >>> y = odelet.sdeint(drift, diffusion, np.ones((10_000, 1)), [0.0, 1.0], dt=0.01, seed=1).outputs["y"]
    >>> bool(abs(y[1].mean() - np.exp(-1)) < 0.02), bool(abs(y[1].var() - (1 - np.exp(-2)) / 8) < 0.02)
    (True, True)
    """
    limits, control = limits_of(max_steps, max_evals, deadline), _control(dt, rtol, atol, dt_min)
    kind = SdeKind(sde_type, noise_type, method, adaptive, dict(options or {}))
    solution = _solution(SdeCall.of(f, g, y0, t, kind, correction), control, limits, seed, noise)
    if adaptive and kind.name == "euler" and noise_type != "additive":  # as torchsde warns
        message = f"adaptive steps of method='euler' need not converge to the solution for {noise_type} noise"
        warnings.warn(f"{message}; take method='srk' or 'milstein', or fixed steps", RuntimeWarning, stacklevel=2)
    solution.stats.solves[0].warn_above_tolerance()
    return solution


def _control(dt: float, rtol: float, atol: float, dt_min: float) -> StepDoubling:
    try:
        return StepDoubling(dt=dt, rtol=rtol, atol=atol, dt_min=dt_min)
    except ValueError as error:
        raise InputError(str(error)) from None


def _solution(
    call: SdeCall, control: StepDoubling, limits: Limits, seed: int | None, noise: Mapping[str, Any] | None
) -> Solution:
    method, row, t = call.method, call.y.reshape(1, -1), call.t
    stepper = ArraySdeStepper(method, call.sde, t.dtype.type)
    points = t[:1] if method.step_doubling else _points(t, control.dt)
    path, used = call.path(seed, noise, len(points) - 1)
    if method.step_doubling:
        run = solve_by_doubling(stepper, path, row, t, method=method, control=control, limits=limits)
    else:
        on_grid = SdeGridStepper(method, stepper, path, row)
        grid = Grid(step_size=control.dt)
        run = solve_on_grid(on_grid, call.slope, method, row, t, points, grid=grid, direction=1.0, limits=limits)
    stats = Stats((SolveStats.of(FunctionSolve(method.name), run),))
    return Solution({"y": run.rows.reshape(len(t), *call.y.shape)}, stats, run.status, noise=used)


def _points(t: NumpyArray, dt: float) -> NumpyArray:
    try:
        return accumulated_points(t, dt)
    except ValueError as error:
        raise InputError(str(error)) from None
