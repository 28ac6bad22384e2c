"""Solves with the loop outside the graph: which loop drives which stepper.

The law here: how a solve goes is decided by its loop (`drive`, `samples`, `march`, `watch`, `scipy_solver`,
`iterated`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from odelet.artifact.solve_card import SolveCard
from odelet.engine.adaptive_steps import GraphAdaptiveStepper, SolveGraphs, run_graph
from odelet.engine.fixed_steps import GraphFixedStepper
from odelet.engine.iteration import solve_iteration
from odelet.engine.problem import Problem, Request, control_settings, problem_of
from odelet.engine.sample_steps import GraphSampleStepper
from odelet.errors import InputError
from odelet.loops.adaptive import AdaptiveRun, AdaptiveSolve, AdaptiveStepper, solution_arrays, solve_adaptive
from odelet.loops.fixed import FixedRun, FixedStepper, march_along
from odelet.loops.options import method_and_grid
from odelet.loops.per_sample import SampleSolve
from odelet.loops.recorder import RecordedFixedStepper, RecordedSampleStepper, RecordedStepper
from odelet.loops.sample_arrays import row_of, table_of
from odelet.loops.scipy import SciPyRun, solve_scipy
from odelet.loops.stats import SampleStats, SolveStats
from odelet.loops.watched import SolveObserver, solve_on_grid_until_event, solve_until_event
from odelet.methods.fixed_point import Iteration
from odelet.methods.roster import METHODS, method_of
from odelet.methods.scipy import SciPy
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.state import Layout


def drive_solve(
    solve: SolveCard, graphs: SolveGraphs, values: Mapping[str, NumpyArray], request: Request, *, device: str = "cpu"
) -> tuple[list[NumpyArray], SolveStats, SolveObserver | None]:
    """Solve with the loop outside the graph.

    values: the arrays that the card's drive entry names. Returns the solution, (times, *shape) for each part of
    the state, and the time of the event that ended it, if it ends at one; what the solve did; and what was
    watched, if anything was. Raises InputError when the times are not strictly monotone.
    """
    with graphs.pool.maker() as make_buffers:
        return _drive(problem_of(solve, graphs, values, request, device=device, make_buffers=make_buffers))


def _drive(problem: Problem) -> tuple[list[NumpyArray], SolveStats, SolveObserver | None]:
    solve, request = problem.solve, problem.request
    names, row, t = solve.drive, problem.row, problem.t
    assert names is not None
    method = method_of(solve.method)
    if request.recording is not None:
        request.recording.begin(solve.method, t, problem.direction, problem.parts)
    watched: SolveObserver | None = None
    found: list[NumpyArray] = []
    if isinstance(method, Iteration):
        if request.events or request.dense:
            raise InputError(
                f"solve {solve.index} ({solve.source}) is an iteration ({solve.method}), without time; events and "
                "dense are for other solves"
            )
        found, told = solve_iteration(problem, method)
        return found, told, None
    if solve.per_sample:
        rows, told = _samples(problem)
        return solution_arrays(rows, problem.parts), told, None
    if request.events or request.dense:
        watched = _watched(problem, request)
    unconverged = None
    steps: int | None
    done: AdaptiveRun | FixedRun | SciPyRun
    if method.adaptive:
        run, found = _adaptive(problem, watched)
        done, steps, accepted = run, run.steps, run.accepted
    elif method.fixed:
        marched, found = _fixed(problem, watched)
        done, steps, accepted, unconverged = marched, marched.steps, marched.steps, marched.unconverged
    else:
        own, _ = method_and_grid(method, names.options)
        assert isinstance(own, SciPy)
        rtol, atol = (problem.tolerance(name).item() for name in ("rtol", "atol"))
        done = solve_scipy(problem.slope, own, row, t, direction=problem.direction, rtol=rtol, atol=atol)
        steps = accepted = None
    stats = stats_of(solve, done, steps, accepted, unconverged)
    return [*solution_arrays(done.rows, problem.parts), *found], stats, watched


def _watched(problem: Problem, request: Request) -> SolveObserver:
    """What watches the solve. Raises InputError for one that cannot be watched so."""
    solve, names = problem.solve, problem.solve.drive
    assert names is not None
    method, why = METHODS[solve.method], ""
    if problem.graphs.event is not None:
        why = "ends at an event of its own"
    elif not (method.adaptive or method.fixed):
        why = f"is SciPy's ({solve.method})"
    elif request.events and not method.adaptive:
        why = f"takes fixed steps ({solve.method}), between which no events are looked for"
    if why:
        raise InputError(f"solve {solve.index} ({solve.source}) {why}; events and dense are for other solves")
    layout = Layout.of([problem.values[name] for name in names.y0])
    single = len(problem.parts) == 1
    if method.fixed:
        return SolveObserver.along(layout, problem.t, problem.row, single=single)
    return SolveObserver.of(request.events, layout, problem.t, problem.row, single=single)


def stats_of(
    solve: SolveCard,
    done: AdaptiveRun | FixedRun | SciPyRun,
    steps: int | None,
    accepted: int | None,
    unconverged: int | None,
) -> SolveStats:
    """What a driven solve did."""
    return SolveStats(
        index=solve.index,
        method=solve.method,
        form=solve.form,
        steps=steps,
        accepted=accepted,
        rejected=None if steps is None or accepted is None else steps - accepted,
        evaluations=done.evaluations,
        status=done.status,
        time=done.time,
        source=solve.source,
        unconverged=unconverged,
        nested=solve.nested,
    )


def _adaptive(problem: Problem, watched: SolveObserver | None) -> tuple[AdaptiveRun, list[NumpyArray]]:
    """The run, and the time of the event that ended it, if it ends at one."""
    row, t = problem.row, problem.t
    begin = adaptive_start(problem)
    if problem.graphs.event is not None:
        run, time = solve_until_event(begin, row, t, problem.event, atol=problem.tolerance("atol").item())
        return run, [np.asarray(time, t.dtype)]
    return solve_adaptive(begin, row, t) if watched is None else watched.integrate(begin, row, t), []


def adaptive_start(problem: Problem) -> Callable[[], AdaptiveSolve]:
    """What begins an adaptive solve."""
    row, method = problem.row, METHODS[problem.solve.method]
    assert method.order is not None and method.evaluations is not None
    control, tolerances, points = control_settings(problem)
    kept = {**problem.kept, **tolerances}
    order, calls = method.order, method.evaluations
    recording = problem.request.recording

    def stepper() -> AdaptiveStepper:
        graph = GraphAdaptiveStepper(problem.graphs, row, kept, problem.direction, problem.bind)
        return graph if recording is None else RecordedStepper(graph, recording)

    return lambda: AdaptiveSolve(
        stepper(),
        float(problem.t[0]),
        direction=problem.direction,
        order=order,
        calls=calls,
        control=control,
        limits=problem.request.limits,
        points=points,
    )


def _samples(problem: Problem) -> tuple[NumpyArray, SolveStats]:
    """Solve each sample of a batch on its own. Returns rows (times, n), and what was done."""
    if problem.request.events or problem.request.dense:
        raise InputError("events and dense are for solves of a whole batch; export the model without per_sample")
    solve = problem.solve
    assert solve.drive is not None
    parts = [problem.values[name] for name in solve.drive.y0]
    if len({len(part) for part in parts}) > 1:
        raise InputError(f"solve {solve.index} ({solve.source}): the parts of its state have not the same samples")
    control, tolerances, points = control_settings(problem)
    method = METHODS[solve.method]
    assert method.order is not None and method.evaluations is not None
    stepper = GraphSampleStepper(
        problem.graphs,
        parts,
        {**problem.kept, **tolerances},
        batched=solve.drive.batched,
        direction=problem.direction,
        run=run_graph,
        bind=problem.bind,
    )
    layout = Layout.of(parts, per_sample=True)
    recording = problem.request.recording
    run = SampleSolve(
        stepper if recording is None else RecordedSampleStepper(stepper, recording, len(parts[0])),
        table_of(problem.row, layout),
        problem.t,
        direction=problem.direction,
        order=method.order,
        calls=method.evaluations,
        control=control,
        limits=problem.request.limits,
        points=points,
    ).run()
    stats = SolveStats.of_samples(
        SampleStats.of(run.status, run.time, run.steps, run.accepted),
        index=solve.index,
        method=solve.method,
        form=solve.form,
        evaluations=run.evaluations,
        source=solve.source,
    )
    return np.concatenate([row_of(table, layout) for table in run.tables]), stats


def fixed_stepper(problem: Problem, method: Any, *, cubic: bool = False) -> FixedStepper:
    """What takes the steps of a fixed-step method. cubic: whether the state is read by cubics."""
    assert problem.graphs.step is not None
    memory = method.initial_memory(problem.row, xp=NUMPY)
    stepper = GraphFixedStepper(
        problem.graphs.step, problem.row, memory, problem.kept, method.evaluations, problem.bind
    )
    recording = problem.request.recording
    return stepper if recording is None else RecordedFixedStepper(stepper, recording, problem.slope if cubic else None)


def _fixed(problem: Problem, watched: SolveObserver | None) -> tuple[FixedRun, list[NumpyArray]]:
    """The march, and the time of the event that ended it, if it ends at one."""
    solve, row, t = problem.solve, problem.row, problem.t
    names = solve.drive
    assert names is not None
    options = names.options if names.grid is None else {**names.options, "grid_constructor": names.grid}
    method, grid = method_and_grid(METHODS[solve.method], options)
    stepper = fixed_stepper(problem, method, cubic=grid.reads_cubics)
    if problem.graphs.event is not None:
        atol = problem.tolerance("atol").item()
        assert grid.step_size is not None
        marched, time = solve_on_grid_until_event(
            stepper, method, row, t, problem.event, step_size=grid.step_size, atol=atol
        )
        return marched, [np.asarray(time, t.dtype)]
    given = None if names.grid is None else problem.values[names.grid]
    kept = watched.trajectory if watched is not None else None
    return march_along(stepper, problem.slope, method, grid, row, t, problem.direction, given, kept), []
