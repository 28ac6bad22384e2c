"""The function `odeint`, which solves an ODE whose field is a Python function on numpy arrays, without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from odelet.errors import InputError
from odelet.loops.array_problem import ArrayCall, array_problem, check_per_sample
from odelet.loops.limits import DEFAULT_MAX_STEPS
from odelet.loops.observer import SolveObserver
from odelet.loops.options import limits_of
from odelet.loops.run import solution_arrays
from odelet.loops.solution import Solution
from odelet.loops.solve import solve_by_loop
from odelet.loops.stats import FunctionSolve, SolveStats, Stats
from odelet.numerics.backend import NUMPY
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

    field: called with t, a scalar in the dtype of y0, and y, shaped like y0; returns the slope, shaped alike. y0: a
    float32 or float64 array, or a tuple of them with one dtype. t: (times,), strictly monotone. rtol, atol: a number,
    or one for each part of a tuple. options: for an adaptive method the settings of `Control` (first_step, min_step,
    max_step, safety, ifactor, dfactor, max_num_steps, dtype, controller), with step_t, jump_t (1-D times) and norm
    ("rms", "max", or a function of the state that returns a number); for a fixed-step method those of `Grid`
    (step_size, interp, perturb, and grid_constructor, a function of field, y0 and t that returns the grid); max_order
    and max_iters of the methods that have them; solver, min_step and max_step of `scipy_solver`. max_steps, max_evals,
    deadline: give up after so many attempted steps of an adaptive method, evaluations of the field, or seconds.

    per_sample: solve each sample of a batch (the first axis) by an adaptive method on its own, with its own steps,
    acceptance and status, so that no sample's answer depends on the others. The field is then called with t of the
    shape (samples, 1, ...), with as many axes as (the first part of) the state.

    events: the events to look for in the accepted steps of an adaptive method; after a terminal event the outputs are
    NaN and the status is EVENT. dense: whether to keep the steps, for `solution.at(t)`.

    Returns a Solution whose outputs are `y` (times, *shape), or `y_0`, `y_1`, ... for a tuple. Raises InputError for
    arguments that cannot work; a solve that fails is a status, and a RuntimeWarning tells of steps whose iteration did
    not converge.

    >>> import numpy as np, odelet
    >>> solution = odelet.odeint(lambda t, y: -y, np.array([1.0, 2.0]), [0.0, 1.0, 2.0])
    >>> solution.outputs["y"].round(4)
    array([[1.    , 2.    ],
           [0.3679, 0.7358],
           [0.1353, 0.2707]])
    """
    limits = limits_of(max_steps, max_evals, deadline)
    call = ArrayCall.of(field, y0, t, method, rtol=rtol, atol=atol, options=options, limits=limits)
    solution = _solve(call, events, dense=dense, per_sample=per_sample)
    solution.stats.solves[0].warn_unconverged()
    return solution


def _solve(call: ArrayCall, events: Sequence[Event], *, dense: bool, per_sample: bool) -> Solution:
    observer = _observer(call, events) if events or dense else None
    if per_sample:
        check_per_sample(call, observed=observer is not None)
    problem, steppers = array_problem(call, per_sample=per_sample)
    run = solve_by_loop(problem, steppers, observer=observer)
    outputs = dict(zip(call.names, solution_arrays(run.rows, call.shapes), strict=True))
    stats = Stats((SolveStats.of(FunctionSolve(call.method.name), run),))
    if observer is None:
        return Solution(outputs, stats, run.status)
    trajectories = {0: observer.trajectory} if dense else {}
    return Solution(outputs, stats, run.status, observer.finder.occurrences(), trajectories)


def _observer(call: ArrayCall, events: Sequence[Event]) -> SolveObserver:
    """The observer of a call's solve. Raises InputError for a method whose steps cannot be observed."""
    method = call.method
    if not (method.adaptive or (method.fixed and not events)):
        raise InputError(f"events are for adaptive methods, which {method.name!r} is not; use 'dopri5'")
    layout = Layout.of(call.parts)
    row = layout.pack(call.parts, xp=NUMPY)
    return SolveObserver.of(events, layout, row, call.t, call.direction, single=call.single, fixed=method.fixed)
