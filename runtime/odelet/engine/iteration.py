"""Iterations with the loop outside the graph: turn after turn of the step graph, until all samples have ended."""

from __future__ import annotations

import numpy as np

from odelet.engine.buffers import MEMORY, StepArrays
from odelet.engine.method_settings import settings_of
from odelet.engine.problem import Problem
from odelet.loops.stats import SampleStats, SolveOutcome, SolveStats, status_of
from odelet.methods.fixed_point import Iteration, IterationState, initial_state, status_code
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.state import Layout
from odelet.status import Status


def solve_iteration(problem: Problem) -> tuple[list[NumpyArray], SolveStats]:
    """Iterate from the problem's state, the first guess.

    Returns the parts of the answer, in the shapes of the first guess, and what the iteration did. Every turn is an
    accepted step that takes one evaluation for all samples.
    """
    solve = problem.solve
    method = settings_of(solve).method
    assert isinstance(method, Iteration)
    layout = Layout.of(problem.states, per_sample=solve.per_sample)
    with np.errstate(all="ignore"):
        first = initial_state(method, problem.row, layout=layout, xp=NUMPY)
    state, early, calls = _turns(problem, first)
    codes = np.asarray(status_code(state, xp=NUMPY))
    if early is not Status.OK:
        codes = np.where(np.asarray(state.running), early.value, codes)
    turns = np.asarray(state.turns).astype(np.int64)
    if solve.per_sample:
        outcome = SolveOutcome.of_samples(SampleStats.of(codes, None, turns, turns), evaluations=calls)
    else:
        status = status_of(int(codes))
        outcome = SolveOutcome(status=status, time=None, steps=int(turns), accepted=int(turns), evaluations=calls)
    return layout.unpack(state.best, xp=NUMPY), SolveStats.of(solve, outcome)


def _turns(problem: Problem, first: IterationState) -> tuple[IterationState, Status, int]:
    """The last state, the limit that ended the loop early, or OK, and how many turns the loop took."""
    limits, row = problem.request.limits, problem.row
    starts = {name: np.asarray(x) for name, x in zip(("y", *MEMORY), first.flat(), strict=False)}
    tolerances = {name: problem.tolerance(name).astype(row.dtype) for name in ("rtol", "atol")}
    buffers = problem.step_buffers(StepArrays(starts, {}, {**problem.constants, **tolerances}))
    excess, calls, early = _input_of("excess"), 0, Status.OK
    while np.any(first._replace(excess=buffers.state(excess)).running):
        early = limits.exceeded(calls, 1, steps=calls, time=None)
        if early is not Status.OK or calls >= limits.max_steps:
            break
        buffers.run()
        buffers.swap()
        calls += 1
    return IterationState.of([buffers.state(name).copy() for name in starts]), early, calls


def _input_of(field: str) -> str:
    """The input of the step graph that holds a field of the state."""
    return ("y", *MEMORY)[IterationState._fields.index(field)]
