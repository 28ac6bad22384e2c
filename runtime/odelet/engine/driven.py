"""Solves with the loop outside the graph.

The law here: a loop of `loops` solves, or the loop of `iteration`; this file only poses the problem and reports the
outcome.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from odelet.artifact.solve_card import SolveCard
from odelet.engine.adaptive_steps import SolveGraphs
from odelet.engine.iteration import solve_iteration
from odelet.engine.method_settings import settings_of
from odelet.engine.problem import Problem, Request, problem_of
from odelet.engine.sde_steps import GraphSdeStepper, card_of, path_of
from odelet.engine.steppers import GraphSteppers, loop_problem
from odelet.errors import InputError
from odelet.loops.observer import SolveObserver
from odelet.loops.run import SolveRun, solution_arrays
from odelet.loops.solve import solve_by_loop
from odelet.loops.stats import SolveStats
from odelet.loops.step_doubling import solve_by_doubling
from odelet.methods.fixed_point import Iteration
from odelet.methods.roster import method_of
from odelet.methods.sde import SdeMethod
from odelet.numerics.backend import NumpyArray
from odelet.numerics.control import StepDoubling
from odelet.numerics.state import Layout


def drive_solve(
    solve: SolveCard, graphs: SolveGraphs, values: Mapping[str, NumpyArray], request: Request, *, device: str = "cpu"
) -> tuple[list[NumpyArray], SolveStats, SolveObserver | None]:
    """Solve with the loop outside the graph.

    values: the arrays that the card's drive entry names. Returns the solution, (times, *shape) for each part of the
    state, followed by the time of the event if the solve ends at one of its own; what the solve did; and its observer
    if events were looked for or steps kept. Raises InputError when the times are not strictly monotone, or when the
    solve cannot be observed as requested.
    """
    with graphs.pool.maker() as make_buffers:
        return _drive(problem_of(solve, graphs, values, request, device=device, make_buffers=make_buffers))


def _drive(problem: Problem) -> tuple[list[NumpyArray], SolveStats, SolveObserver | None]:
    solve, request, t = problem.solve, problem.request, problem.t
    if request.recording is not None:
        request.recording.begin(solve.method, t, problem.direction, problem.parts)
    observed = bool(request.events or request.dense)
    method = method_of(solve.method)
    if isinstance(method, Iteration):
        if observed:
            raise InputError(
                f"solve {solve.index} ({solve.source}) is an iteration ({solve.method}), without time; events and "
                "dense are for other solves"
            )
        return *solve_iteration(problem), None
    if problem.graphs.event is not None and t.size < 2:
        raise InputError(
            f"solve {solve.index} ({solve.source}): t must be two times, the start and one that says where to"
        )
    if solve.per_sample:
        _check_samples(problem, observed=observed)
    observer = _observer(problem) if observed else None
    if method.stochastic:
        method = settings_of(solve).method  # with its options, of which step doubling is one
    if isinstance(method, SdeMethod) and method.step_doubling:
        run = _solve_by_doubling(problem, method)
        return solution_arrays(run.rows, problem.parts), SolveStats.of(solve, run), None
    run = solve_by_loop(loop_problem(problem), GraphSteppers(problem), observer=observer)
    solution = solution_arrays(run.rows, problem.parts)
    if run.event_time is not None:
        solution.append(np.asarray(run.event_time, t.dtype))
    return solution, SolveStats.of(solve, run), observer


def _solve_by_doubling(problem: Problem, method: SdeMethod) -> SolveRun:
    """Solve an SDE whose steps follow an error estimate."""
    card = card_of(problem)
    assert card.first_step is not None and card.least_step is not None, "the card has checked its lengths of steps"
    control = StepDoubling(
        dt=card.first_step,
        dt_min=card.least_step,
        rtol=float(problem.tolerance("rtol")),
        atol=float(problem.tolerance("atol")),
    )
    stepper, path = GraphSdeStepper(problem, method), path_of(problem, method)
    limits, recording = problem.request.limits, problem.request.recording
    return solve_by_doubling(
        stepper, path, problem.row, problem.t, method=method, control=control, limits=limits, recording=recording
    )


def _check_samples(problem: Problem, *, observed: bool) -> None:
    """Raise InputError unless the samples of a batch can be solved each on its own."""
    solve = problem.solve
    if observed:
        raise InputError("events and dense are for solves of a whole batch; export the model without per_sample")
    if len({len(part) for part in problem.states}) > 1:
        raise InputError(
            f"solve {solve.index} ({solve.source}): the parts of its state must have one number of samples each; their "
            f"shapes are {list(problem.parts)}"
        )


def _observer(problem: Problem) -> SolveObserver:
    """What observes the solve. Raises InputError for a solve that cannot be observed so."""
    solve, request = problem.solve, problem.request
    method, reason = method_of(solve.method), ""
    if problem.graphs.event is not None:
        reason = "ends at an event of its own"
    elif method.stochastic:
        reason = f"is of an SDE ({solve.method})"
    elif not (method.adaptive or method.fixed):
        reason = f"is SciPy's ({solve.method})"
    elif request.events and not method.adaptive:
        reason = f"takes fixed steps ({solve.method}), between which no events are looked for"
    if reason:
        raise InputError(f"solve {solve.index} ({solve.source}) {reason}; events and dense are for other solves")
    single = len(problem.parts) == 1
    return SolveObserver.of(
        request.events,
        Layout.of(problem.states),
        problem.row,
        problem.t,
        problem.direction,
        single=single,
        fixed=method.fixed,
    )
