"""The function `sdeint`, which solves an SDE whose functions are Python's, on numpy arrays, without a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from odelet.errors import InputError
from odelet.loops.adaptive import DEFAULT_MAX_STEPS, Limits
from odelet.loops.brownian import BrownianPath
from odelet.loops.fixed import solve_on_grid
from odelet.loops.options import limits_of
from odelet.loops.run import SolveRun
from odelet.loops.sde_problem import SdeCall
from odelet.loops.sde_steps import ArraySdeStepper, SdeGridStepper
from odelet.loops.solution import Solution
from odelet.loops.stats import FunctionSolve, SolveStats, Stats
from odelet.loops.step_doubling import StepDoubling, solve_by_doubling
from odelet.numerics.backend import NumpyArray
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

    f: called with t, a scalar in the dtype of the times, and y (batch, d); returns (batch, d). g: called alike; returns
    (batch, d) for diagonal noise, whose channels are those of the state, and else (batch, d, m) for m channels. y0: a
    float32 or float64 array (batch, d). t: strictly increasing times (times,). sde_type: "ito" or "stratonovich".
    noise_type: "diagonal", "additive", "scalar" (m = 1) or "general". method: "euler", "milstein" or "srk" in the Ito
    sense; "euler_heun", "heun", "midpoint", "milstein", "reversible_heun" or "log_ode" in Stratonovich's; None for
    "srk" ("euler" for general noise) or "midpoint". dt: the length of the steps. Steps do not end at output times: the
    states are read off straight lines.

    adaptive: compare each step, the first of which has the length dt, with two of half its length, and choose steps so
    that the difference is within rtol and atol. A step of the length dt_min is accepted, whatever its error.

    options: grad_free, for "milstein", to take a difference in the place of derivatives of g; levy ("foster" or
    "davie"), for "log_ode", to approximate the Levy area. correction: the term with derivatives of g that "milstein"
    and "log_ode" take: a function of t, y and v (batch, m), that returns the sum over j and l of g_jl dg_jl/dy_i v_l;
    or, for "log_ode", of t, y and a (batch, m, m), that returns the sum over j, k, l of dg_il/dy_j g_jk a_kl.

    seed: a whole number; the same seed gives the same answer, and a row the same Brownian motion in every batch. noise:
    the noise itself, as `Solution.noise` has it: the seed that was used; or "w", and "h" and "area" where the method
    takes them, which are standard normal numbers (steps, batch, m), and (steps, batch, m, m) for the area; or, for
    adaptive steps, "key", int64 (batch,). max_steps, max_evals, deadline: give up after so many attempted steps of an
    adaptive solve, evaluations of f, or seconds.

    Returns a Solution whose output is `y` (times, batch, d). Raises InputError for arguments that cannot work; a solve
    that fails is a status, and a RuntimeWarning tells of steps whose error is larger than the tolerance.

    >>> import numpy as np, odelet
    >>> drift, diffusion = lambda t, y: -y, lambda t, y: np.full_like(y, 0.5)
    >>> solution = odelet.sdeint(drift, diffusion, np.ones((10_000, 1)), [0.0, 1.0], dt=0.01, seed=1)
    >>> mean, deviation = solution.outputs["y"][-1].mean(), solution.outputs["y"][-1].std()
    >>> bool(abs(mean - np.exp(-1)) < 0.02), bool(abs(deviation - 0.5 * np.sqrt((1 - np.exp(-2)) / 2)) < 0.02)
    (True, True)
    """
    limits = limits_of(max_steps, max_evals, deadline)
    if seed is not None and noise is not None:
        raise InputError("seed and noise exclude each other; leave one of them out")
    try:
        control = StepDoubling(first_step=dt, rtol=rtol, atol=atol, min_step=dt_min)
    except ValueError as error:
        raise InputError(str(error)) from None
    call = SdeCall.of(
        f,
        g,
        y0,
        t,
        sde_type=sde_type,
        noise_type=noise_type,
        method=method,
        adaptive=adaptive,
        options=options,
        correction=correction,
    )
    run, used = _solve(call, control, seed, noise, limits)
    outputs = {"y": run.rows.reshape(-1, *call.y.shape)}
    stats = Stats((SolveStats.of(FunctionSolve(call.method.name), run),))
    if adaptive:
        _warn(call, control, run)
    return Solution(outputs, stats, run.status, noise=used)


def _solve(
    call: SdeCall, control: StepDoubling, seed: int | None, noise: Mapping[str, Any] | None, limits: Limits
) -> tuple[SolveRun, dict[str, NumpyArray]]:
    """The solve of a call, and the noise that it used."""
    method, row, t = call.method, call.y.reshape(1, -1), call.t
    stepper = ArraySdeStepper(method, call.sde, t.dtype.type)
    if method.step_doubling:
        path, used = call.path(seed, noise, 0)
        return solve_by_doubling(stepper, path, row, t, method=method, control=control, limits=limits), used
    try:
        points = accumulated_points(t, control.first_step)
    except ValueError as error:
        raise InputError(str(error)) from None
    path, used = call.path(seed, noise, len(points) - 1)
    return _along_grid(call, stepper, path, points, control, limits), used


def _along_grid(
    call: SdeCall,
    stepper: ArraySdeStepper,
    path: BrownianPath,
    points: NumpyArray,
    control: StepDoubling,
    limits: Limits,
) -> SolveRun:
    row = call.y.reshape(1, -1)
    return solve_on_grid(
        SdeGridStepper(call.method, stepper, path, row),
        lambda t, y: call.sde.drift(t, y.reshape(call.y.shape)).reshape(1, -1),
        call.method,
        row,
        call.t,
        points,
        grid=Grid(step_size=control.first_step),
        direction=1.0,
        limits=limits,
    )


def _warn(call: SdeCall, control: StepDoubling, run: SolveRun) -> None:
    """Warn of what a solve with adaptive steps does not promise, as torchsde would."""
    if call.method.name == "ito_euler" and call.sde.noise != "additive":
        warnings.warn(
            f"adaptive steps of method='euler' need not converge to the solution where the noise is {call.sde.noise}; "
            "take method='srk' or 'milstein'",
            RuntimeWarning,
            stacklevel=3,
        )
    if run.error_ratio is not None and run.error_ratio[0] > 1:
        warnings.warn(
            f"steps of the least length, dt_min={control.min_step:g}, were accepted with an error of up to "
            f"{run.error_ratio[0]:.3g} times the tolerance, so the answer may be wrong; take a smaller dt_min, or "
            "loosen rtol and atol",
            RuntimeWarning,
            stacklevel=3,
        )
