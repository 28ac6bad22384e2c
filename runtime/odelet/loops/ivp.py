"""Solving a field given as a Python function on numpy arrays: the driver with no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import (
    DEFAULT_MAX_STEPS,
    AdaptiveRun,
    AdaptiveSolve,
    Limits,
    Points,
    direction_of,
    solution_arrays,
    solve_adaptive,
)
from odelet.loops.array_steps import ArrayAdaptiveStepper, row_field
from odelet.loops.fixed import ArrayFixedStepper, FixedRun, march_along
from odelet.loops.options import limits_of, measure_of, method_and_grid, points_of, settings_from, tolerance
from odelet.loops.per_sample import SampleSolve
from odelet.loops.sample_arrays import ArraySampleStepper, row_of, table_of
from odelet.loops.scipy import SciPyRun, solve_scipy
from odelet.loops.solution import Solution
from odelet.loops.stats import SampleStats, SolveStats, Stats
from odelet.loops.trajectory import Trajectory
from odelet.loops.watched import SolveObserver
from odelet.methods.method import Method, StepSettings
from odelet.methods.roster import METHODS
from odelet.methods.scipy import SciPy
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.control import Control
from odelet.numerics.events import Event
from odelet.numerics.state import Layout


def odeint(
    field: Callable[..., Any],
    y0: Any,
    t: Any,
    *,
    method: str = "dopri5",
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    options: Mapping[str, Any] | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    max_evals: int | None = None,
    deadline: float | None = None,
    events: Sequence[Event] = (),
    dense: bool = False,
    per_sample: bool = False,
) -> Solution:
    """Solve dy/dt = field(t, y), y(t[0]) = y0, as `torchdiffeq.odeint` would, with numpy alone.

    field: called with t, a scalar in the dtype of y0, and y, shaped like y0; returns the slope, shaped alike.
    y0: a float32 or float64 array, or a tuple of them with one dtype. t: (times,), strictly monotone. rtol,
    atol: a number, or one for each part of a tuple. options: settings of `Control` for an adaptive method
    (first_step, min_step, max_step, safety, ifactor, dfactor, max_num_steps, dtype, controller), with step_t,
    jump_t (1-D times) and norm ("rms", "max", or a function of what the field takes, to a number); of `Grid` for a
    fixed-step one (step_size, interp, perturb, and grid_constructor, a function of field, y0 and t that returns the
    grid); max_order and max_iters of the methods that have them; solver, min_step and max_step of `scipy_solver`.
    max_steps, max_evals, deadline: give up after so many attempted steps, calls of the field, or seconds.

    per_sample: solve each sample of a batch (the first axis) by an adaptive method on its own, with its own steps,
    acceptance and status, so that no sample's answer depends on the others. The field is then called with t of the
    shape (samples, 1, ...), of as many axes as (the first part of) the state.

    events: looked for between the accepted steps of an adaptive method; after a terminal one the outputs are NaN
    and the status is EVENT. dense: keep the steps, for `solution.at(t)`.

    Returns a Solution whose outputs are `y` (times, *shape), or `y_0`, `y_1`, ... for a tuple. Raises
    InputError for arguments that cannot work; a solve that fails is a status, and a RuntimeWarning tells of steps
    whose iteration did not converge.
    """
    limits = limits_of(max_steps, max_evals, deadline)
    parts, names = _state(y0)
    single = not isinstance(y0, tuple)
    times = np.asarray(t)
    times = times if times.dtype == np.float32 else times.astype(np.float64)
    chosen = METHODS.get(method)
    if chosen is None:
        raise InputError(f"method={method!r} is not one of {', '.join(METHODS)}")
    direction_of(times)
    watched: SolveObserver | None = None
    if events or dense:
        if not (chosen.adaptive or (chosen.fixed and not events)):
            raise InputError(f"events are for adaptive methods, which {method!r} is not; use 'dopri5'")
        plain = Layout.of(parts)
        row = plain.pack(parts, xp=NUMPY)
        if chosen.fixed:
            watched = SolveObserver.along(plain, times, row, single=single)
        else:
            watched = SolveObserver.of(events, plain, times, row, single=single)
    given = dict(options or {})
    if per_sample:
        return _per_sample(field, chosen, parts, names, times, given, (rtol, atol), limits, watched, single=single)
    done: AdaptiveRun | FixedRun | SciPyRun
    steps = accepted = unconverged = None
    if chosen.adaptive:
        run = _adaptive(field, chosen, parts, times, given, (rtol, atol), limits, watched, single=single)
        done, steps, accepted = run, run.steps, run.accepted
    elif chosen.fixed:
        kept = watched.trajectory if watched is not None else None
        marched = _fixed(field, y0, chosen, parts, times, given, (rtol, atol), kept)
        done, steps, accepted, unconverged = marched, marched.steps, marched.steps, marched.unconverged
    else:
        done = _by_scipy(field, chosen, parts, times, given, (rtol, atol), single=single)
    outputs = dict(zip(names, solution_arrays(done.rows, [part.shape for part in parts]), strict=True))
    stats = SolveStats(
        index=0,
        method=method,
        form="driven",
        steps=steps,
        accepted=accepted,
        rejected=None if steps is None or accepted is None else steps - accepted,
        evaluations=done.evaluations,
        status=done.status,
        time=done.time,
        unconverged=unconverged,
    )
    stats.warn_unconverged()
    if watched is None:
        return Solution(outputs, Stats((stats,)), done.status)
    solves = {0: watched.trajectory} if dense else {}
    return Solution(outputs, Stats((stats,)), done.status, watched.finder.occurrences(), solves)


def _per_sample(
    field: Callable[..., Any],
    method: Method,
    parts: list[NumpyArray],
    names: list[str],
    t: NumpyArray,
    options: dict[str, Any],
    tolerances: tuple[Any, Any],
    limits: Limits,
    watched: SolveObserver | None,
    *,
    single: bool,
) -> Solution:
    if not method.adaptive:
        raise InputError(f"per_sample is for adaptive methods, which {method.name!r} is not; use 'dopri5'")
    if watched is not None or options.get("norm") is not None:
        raise InputError("per_sample goes with neither events, nor dense, nor a norm of its own")
    if any(part.ndim == 0 for part in parts) or len({len(part) for part in parts}) > 1:
        raise InputError(f"per_sample needs parts with one first axis of samples; got {[p.shape for p in parts]}")
    layout = Layout.of(parts, per_sample=True)
    axes = (-1, *[1] * (parts[0].ndim - 1))
    of_rows = row_field(field, layout, single=single, time=lambda t, dtype: t.astype(dtype).reshape(axes))
    direction, row = direction_of(t), layout.pack(parts, xp=NUMPY)
    points = Points(**{name: points_of(name, options.pop(name, ())) for name in ("step_t", "jump_t")})
    control: Control = settings_from(Control, options, method.name, more=("step_t", "jump_t"))
    dtype = np.promote_types(control.dtype, row.dtype)
    bounds = {
        name: tolerance(name, value, len(parts), dtype.type)
        for name, value in zip(("rtol", "atol"), tolerances, strict=True)
    }
    tableau = method.tableau  # type: ignore[attr-defined]
    assert method.order is not None and method.evaluations is not None
    run = SampleSolve(
        ArraySampleStepper(of_rows, tableau, row, layout=layout, direction=direction, **bounds),
        table_of(row, layout),
        t,
        direction=direction,
        order=method.order,
        calls=method.evaluations,
        control=replace(control, dtype=dtype.name),
        limits=limits,
        points=points,
    ).run()
    rows = np.concatenate([row_of(table, layout) for table in run.tables])
    outputs = dict(zip(names, solution_arrays(rows, [part.shape for part in parts]), strict=True))
    samples = SampleStats.of(run.status, run.time, run.steps, run.accepted)
    stats = SolveStats.of_samples(
        samples, index=0, method=method.name, form="driven", evaluations=run.evaluations, source=""
    )
    return Solution(outputs, Stats((stats,)), stats.status)


def _adaptive(
    field: Callable[..., Any],
    method: Method,
    parts: list[NumpyArray],
    t: NumpyArray,
    options: dict[str, Any],
    tolerances: tuple[Any, Any],
    limits: Limits,
    watched: SolveObserver | None,
    *,
    single: bool,
) -> AdaptiveRun:
    direction = direction_of(t)
    measure = measure_of(options.pop("norm", "rms"), single=single)
    points = Points(**{name: points_of(name, options.pop(name, ())) for name in ("step_t", "jump_t")})
    control: Control = settings_from(Control, options, method.name, more=("norm", "step_t", "jump_t"))
    dtype = np.promote_types(control.dtype, parts[0].dtype)
    layout = Layout.of(parts, user_norm=measure)
    row = layout.pack(parts, xp=NUMPY)
    tableau = method.tableau  # type: ignore[attr-defined]
    assert method.order is not None and method.evaluations is not None
    order, calls = method.order, method.evaluations
    rtol, atol = (
        tolerance(name, value, len(parts), dtype.type) for name, value in zip(("rtol", "atol"), tolerances, strict=True)
    )
    stepper = ArrayAdaptiveStepper(
        row_field(field, layout, single=single),
        tableau,
        row,
        rtol=rtol,
        atol=atol,
        layout=layout,
        direction=direction,
        dtype=dtype.name,
    )
    begin: Callable[[], AdaptiveSolve] = lambda: AdaptiveSolve(  # noqa: E731
        stepper,
        float(t[0]),
        direction=direction,
        order=order,
        calls=calls,
        control=replace(control, dtype=dtype.name),
        limits=limits,
        points=points,
    )
    return solve_adaptive(begin, row, t) if watched is None else watched.integrate(begin, row, t)


def _fixed(
    field: Callable[..., Any],
    y0: Any,
    method: Method,
    parts: list[NumpyArray],
    t: NumpyArray,
    options: dict[str, Any],
    tolerances: tuple[Any, Any],
    trajectory: Trajectory | None,
) -> FixedRun:
    layout = Layout.of(parts)
    row = layout.pack(parts, xp=NUMPY)
    slope = row_field(field, layout, single=not isinstance(y0, tuple))
    construct = options.get("grid_constructor")
    given = None if construct is None else np.asarray(construct(field, y0, t))
    own, grid = method_and_grid(method, options)
    direction = direction_of(t)
    rtol, atol = (float(value) for value in _scalar_tolerances(method, tolerances))
    terms = StepSettings(direction=direction, perturb=grid.perturb, rtol=rtol, atol=atol)
    return march_along(
        ArrayFixedStepper(slope, own, row, terms), slope, own, grid, row, t, direction, given, trajectory
    )


def _by_scipy(
    field: Callable[..., Any],
    method: Method,
    parts: list[NumpyArray],
    t: NumpyArray,
    options: dict[str, Any],
    tolerances: tuple[Any, Any],
    *,
    single: bool,
) -> SciPyRun:
    layout = Layout.of(parts)
    slope = row_field(field, layout, single=single)
    own, _ = method_and_grid(method, options)
    assert isinstance(own, SciPy)
    rtol, atol = _scalar_tolerances(method, tolerances)
    row = layout.pack(parts, xp=NUMPY)
    return solve_scipy(slope, own, row, t, direction=direction_of(t), rtol=rtol, atol=atol)


def _scalar_tolerances(method: Method, tolerances: tuple[Any, Any]) -> list[Any]:
    found = [tolerance(name, value, 1, float) for name, value in zip(("rtol", "atol"), tolerances, strict=True)]
    if any(isinstance(value, list) for value in found):
        raise InputError(f"{method.name} takes one number for rtol and for atol; got {tolerances}")
    return found


def _state(y0: Any) -> tuple[list[NumpyArray], list[str]]:
    """The parts of a state and the names of its outputs."""
    single = not isinstance(y0, tuple)
    parts = [np.asarray(part) for part in ((y0,) if single else y0)]
    if not parts or any(part.dtype not in (np.float32, np.float64) for part in parts):
        raise InputError(
            f"y0 must be a float32 or float64 array, or a tuple of them; got {[str(part.dtype) for part in parts]}"
        )
    if len({part.dtype for part in parts}) > 1:
        raise InputError(f"the parts of y0 must have one dtype; got {[str(part.dtype) for part in parts]}")
    return parts, ["y"] if single else [f"y_{i}" for i in range(len(parts))]
