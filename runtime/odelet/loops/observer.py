"""A solve that is observed: events are looked for in its steps, its trajectory is kept, or both.

The law here: an observed solve takes the steps that it takes unobserved, until an event resets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from odelet.loops.adaptive import AdaptiveSolve, not_begun
from odelet.loops.event_finder import EventFinder
from odelet.loops.run import SolveRun, rows_from
from odelet.loops.trajectory import Trajectory
from odelet.numerics.backend import NumpyArray
from odelet.numerics.events import Event
from odelet.numerics.state import Layout
from odelet.status import Status


@dataclass(frozen=True)
class SolveObserver:
    """The observer of a solve, which also holds what it observed. finder: finds the events. trajectory: keeps the
    accepted steps."""

    finder: EventFinder
    trajectory: Trajectory

    @classmethod
    def of(
        cls,
        events: Sequence[Event],
        layout: Layout,
        row: NumpyArray,
        t: NumpyArray,
        direction: float,
        *,
        single: bool,
        fixed: bool,
    ) -> SolveObserver:
        """The observer of a solve of the row (1, n) over the times t.

        direction: 1 or -1, as time runs. single: whether the state is one array, or a tuple. fixed: whether steps
        follow a grid, so that times keep the type of t. Raises InputError for an event that is no odelet.Event.
        """
        trajectory = Trajectory(float(t[0]), row, layout.shapes, direction)
        if fixed:
            trajectory.time_type = t.dtype.type
        return cls(EventFinder(events, layout, direction, single=single), trajectory)


def solve_observed(
    begin: Callable[[], AdaptiveSolve], y0: NumpyArray, t: NumpyArray, observer: SolveObserver
) -> SolveRun:
    """Solve as `solve_adaptive` does, keep the accepted steps, and look for events in them.

    After a terminal event the states are NaN, and the status is EVENT.
    """
    finder, trajectory = observer.finder, observer.trajectory
    rows = rows_from(y0, t.size)
    if not np.isfinite(y0).all():
        return not_begun(rows, t[0])
    solve, status = begin(), Status.OK
    trajectory.time_type = solve.time_type
    forward = solve.forward(t)
    finder.begin(forward[0], y0[0])
    reached, since = 1, 0
    while reached < t.size:
        status = solve.step(since)
        if status is not Status.OK:
            break
        # A step may go past the last output time, and the caller did not ask for events there.
        step = solve.dense_step()
        step = replace(step, end=min(step.end, forward[-1]))
        end, event = finder.find_in(step)
        step = replace(step, end=end)
        trajectory.append(step)
        while reached < t.size and forward[reached] <= end:
            rows[reached] = trajectory.row(t[reached])
            reached, since = reached + 1, solve.steps
        if event is not None and event.terminal:
            status = Status.EVENT
            break
        if event is not None and reached < t.size:
            solve.restart(float(solve.direction * end), finder.reset(event, end, step.read(end)))
    status = status if np.isfinite(rows[:reached]).all() else Status.NOT_FINITE
    return solve.run(rows, status, time=trajectory.range[1] if status is Status.EVENT else None)
