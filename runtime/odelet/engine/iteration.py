"""Iterations with the loop outside the graph: turn after turn of the step graph, until all samples are at their end."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from odelet.engine.buffers import MEMORY
from odelet.engine.problem import Problem
from odelet.loops.adaptive import Limits
from odelet.loops.options import method_and_grid
from odelet.loops.stats import SampleStats, SolveStats, status_of
from odelet.methods.fixed_point import Iteration, IterationState, initial_state, status_code
from odelet.numerics.backend import NUMPY, NumpyArray
from odelet.numerics.state import Layout
from odelet.status import Status


def solve_iteration(problem: Problem, method: Iteration) -> tuple[list[NumpyArray], SolveStats]:
    """Returns each part of the answer, in the shape of the first guess, and what was done."""
    solve, names = problem.solve, problem.solve.drive
    assert names is not None
    method, _ = method_and_grid(method, names.options)
    parts = [problem.values[name] for name in names.y0]
    layout = Layout.of(parts, per_sample=solve.per_sample)
    with np.errstate(all="ignore"):
        first = initial_state(method, problem.row, layout=layout, xp=NUMPY)
    state, early, calls = _turns(problem, first)
    told: Any = np.asarray(status_code(state, xp=NUMPY))
    if early is not None:
        told = np.where(np.asarray(state.running), early.value, told)
    turns = np.asarray(state.turns).astype(np.int64)
    answer = layout.unpack(state.best, xp=NUMPY)
    if solve.per_sample:
        samples = SampleStats.of(told, None, turns, turns)
        return answer, SolveStats.of_samples(
            samples, index=solve.index, method=solve.method, form=solve.form, evaluations=calls, source=solve.source
        )
    return answer, SolveStats(
        index=solve.index,
        method=solve.method,
        form=solve.form,
        steps=int(turns),
        accepted=int(turns),
        rejected=0,
        evaluations=calls,
        status=status_of(int(told)),
        time=None,
        source=solve.source,
    )


def _turns(problem: Problem, first: IterationState) -> tuple[IterationState, Status | None, int]:
    """The last state, what ended the loop early, if anything did, and how many turns it took."""
    step, row = problem.graphs.step, problem.row
    assert step is not None
    starts = {name: np.asarray(x) for name, x in zip(("y", *MEMORY), first.flat(), strict=False)}
    tolerances = {name: problem.tolerance(name).astype(row.dtype) for name in ("rtol", "atol")}
    buffers = problem.bind(starts, {}, {**problem.kept, **tolerances})
    excess, calls, early = _name_of("excess"), 0, None
    while np.any(first._replace(excess=buffers.state(excess)).running):
        early = _spent(problem.request.limits, calls)
        if early is not None or calls >= problem.request.limits.max_steps:
            break
        buffers.run()
        buffers.swap()
        calls += 1
    return IterationState.of([buffers.state(name).copy() for name in starts]), early, calls


def _name_of(field: str) -> str:
    """What the step graph calls a field of the state."""
    return ("y", *MEMORY)[IterationState._fields.index(field)]


def _spent(limits: Limits, calls: int) -> Status | None:
    if limits.max_evals is not None and calls >= limits.max_evals:
        return Status.EVALUATION_LIMIT
    late = limits.deadline is not None and perf_counter() >= limits.deadline
    return Status.DEADLINE if late else None
