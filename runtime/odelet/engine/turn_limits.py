"""What ends the loop of a solve between two turns of its graphs: limits that the graphs do not know, and its caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import copysign

from odelet.artifact.program_steps import LoopStep
from odelet.artifact.solve_card import SolveCard
from odelet.engine.reports import times_input
from odelet.engine.turns import Read
from odelet.loops.limits import Limits
from odelet.loops.stats import SolveOutcome
from odelet.numerics.backend import NumpyArray
from odelet.status import Status


class TurnLimits:
    """The limits of a call as they stop the loop of a solve.

    outcome: what the solve has done so far, with the status of the limit that stopped it, or OK. values: what the
    program has before the loop, by name.
    """

    def __init__(self, limits: Limits, loop: LoopStep, solve: SolveCard, values: Mapping[str, NumpyArray]) -> None:
        taken = limits.max_evals if "max_evals" in solve.settings else None
        self._limits = replace(limits, max_evals=taken)
        self._evaluations, self._clock, self._per_sample = solve.evaluations, loop.clock, solve.per_sample
        self.outcome = SolveOutcome(status=Status.OK, time=None)
        if limits.watch is None:
            return
        counted = loop.all_turns and loop.again is None and loop.most is not None
        most = int(values[loop.most]) if counted and loop.most is not None else None
        start, end = self._span(solve, values)
        self._direction = None if start is None or end is None else copysign(1.0, end - start)
        limits.watch.begin(solve.index, start=start, end=end, most=most)

    def _span(self, solve: SolveCard, values: Mapping[str, NumpyArray]) -> tuple[float | None, float | None]:
        """The first and the last output time, where they are known."""
        clock, name = self._clock, times_input(solve)
        if clock is not None and clock.start is not None:
            return clock.start, clock.end
        times = values.get(name) if name is not None and clock is not None else None
        return (None, None) if times is None or not times.size else (float(times.flat[0]), float(times.flat[-1]))

    def stops(self, turns: int, read: Read) -> bool:
        """Whether a limit, or the caller, forbids another turn after so many."""
        calls, time = self._evaluations, None
        if self._limits.watch is not None and self._clock is not None and self._direction is not None:
            # The slowest of several samples counts.
            time = self._direction * float(read(self._clock.time).min())
        done, cost = (0, 0) if calls is None else (calls.start + calls.step * turns, calls.step)
        status = self._limits.exceeded(done, cost, steps=turns, time=time)
        # The steps of a batch whose samples are solved each on its own are the sum of theirs.
        steps, evaluations = None if self._per_sample else turns, None if calls is None else done
        self.outcome = SolveOutcome(status=status, time=time, steps=steps, evaluations=evaluations)
        return status is not Status.OK
