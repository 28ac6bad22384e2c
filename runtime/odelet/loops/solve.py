"""Chooses the loop that solves a problem, for steps of any kind.

The law here: the method alone decides which loop runs; a loop is the same whether its steps are numpy or graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypedDict

from odelet.loops.adaptive import AdaptiveSolve, AdaptiveStepper, Points, solve_adaptive
from odelet.loops.fixed import FixedStepper, Slope, grid_points, solve_on_grid
from odelet.loops.limits import Limits
from odelet.loops.observer import SolveObserver, solve_observed
from odelet.loops.per_sample import SampleSolve, SampleStepper
from odelet.loops.run import SolveRun
from odelet.loops.sample_tables import table_of
from odelet.loops.scipy import solve_scipy
from odelet.loops.until_event import EventFunction, solve_on_grid_until_event, solve_until_event
from odelet.methods.method import Method
from odelet.methods.scipy import SciPy
from odelet.numerics.backend import NumpyArray
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid
from odelet.numerics.state import Layout, Tolerance


@dataclass(frozen=True, kw_only=True)
class LoopProblem:
    """A solve as its loop sees it.

    method: the method with its options set. row: the first state, (1, n). layout: the layout of the row, with tables of
    samples where samples are solved each on its own. t: the output times, which run in `direction`, 1 or -1. slope:
    dy/dt on rows. rtol, atol: scalars in the dtype of times, or one for each part of the state. control, points: the
    settings of an adaptive method. grid: the settings of a fixed-step method. constructed: the points of the grid,
    where the model constructs them. event: the functions whose zero ends the solve, or None for a solve that ends at
    its last time.
    """

    method: Method
    row: NumpyArray
    layout: Layout
    t: NumpyArray
    direction: float
    slope: Slope
    limits: Limits
    rtol: Tolerance
    atol: Tolerance
    control: Control | None = None
    points: Points = Points()
    grid: Grid | None = None
    constructed: NumpyArray | None = None
    event: EventFunction | None = None


class Steppers(Protocol):
    """Makes the stepper of a problem, which starts from the first state of the problem."""

    def adaptive(self, problem: LoopProblem) -> AdaptiveStepper: ...

    def per_sample(self, problem: LoopProblem) -> SampleStepper: ...

    def fixed(self, problem: LoopProblem) -> FixedStepper: ...


def solve_by_loop(problem: LoopProblem, steppers: Steppers, *, observer: SolveObserver | None = None) -> SolveRun:
    """Solve by the loop of the method's kind. observer: observes the steps of an adaptive or fixed-step method; a solve
    per sample, or one that ends at an event of the model, cannot be observed."""
    if problem.layout.table_shapes is not None:
        return _solve_samples(problem, steppers)
    if problem.method.adaptive:
        return _solve_adaptive(problem, steppers, observer)
    if problem.method.fixed:
        return _solve_fixed(problem, steppers, observer)
    assert isinstance(problem.method, SciPy)
    return solve_scipy(
        problem.slope,
        problem.method,
        problem.row,
        problem.t,
        direction=problem.direction,
        rtol=float(problem.rtol),
        atol=float(problem.atol),
        limits=problem.limits,
    )


class _StepControl(TypedDict):
    """The keywords that both loops with error control take."""

    direction: float
    order: int
    calls: int
    control: Control
    limits: Limits
    points: Points


def _step_control(problem: LoopProblem) -> _StepControl:
    method, control = problem.method, problem.control
    assert method.order is not None and method.evaluations is not None and control is not None
    return {
        "direction": problem.direction,
        "order": method.order,
        "calls": method.evaluations,
        "control": control,
        "limits": problem.limits,
        "points": problem.points,
    }


def begin_adaptive(problem: LoopProblem, steppers: Steppers) -> AdaptiveSolve:
    """Begin a solve with error control: evaluate the first slope and choose the first step."""
    return AdaptiveSolve(steppers.adaptive(problem), float(problem.t[0]), **_step_control(problem))


def _solve_samples(problem: LoopProblem, steppers: Steppers) -> SolveRun:
    stepper, table = steppers.per_sample(problem), table_of(problem.row, problem.layout)
    return SampleSolve(stepper, table, problem.t, **_step_control(problem)).run(problem.layout)


def _solve_adaptive(problem: LoopProblem, steppers: Steppers, observer: SolveObserver | None) -> SolveRun:
    begin = partial(begin_adaptive, problem, steppers)
    row, t = problem.row, problem.t
    if problem.event is not None:
        return solve_until_event(begin, row, t, problem.event, atol=float(problem.atol))
    return solve_adaptive(begin, row, t) if observer is None else solve_observed(begin, row, t, observer)


def _solve_fixed(problem: LoopProblem, steppers: Steppers, observer: SolveObserver | None) -> SolveRun:
    method, row, t, grid, direction = problem.method, problem.row, problem.t, problem.grid, problem.direction
    assert grid is not None
    stepper = steppers.fixed(problem)
    if problem.event is not None:
        assert grid.step_size is not None
        atol = float(problem.atol)
        return solve_on_grid_until_event(
            stepper, method, row, t, problem.event, step_size=grid.step_size, atol=atol, limits=problem.limits
        )
    points = grid_points(grid, t, direction, problem.constructed, strict=method.remembers)
    trajectory = observer.trajectory if observer is not None else None
    return solve_on_grid(
        stepper,
        problem.slope,
        method,
        row,
        t,
        points,
        grid=grid,
        direction=direction,
        limits=problem.limits,
        trajectory=trajectory,
    )
