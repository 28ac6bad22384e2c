"""The limits at which a solve gives up, which every loop asks before each step."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from odelet.loops.progress import Watch
from odelet.status import Status

DEFAULT_MAX_STEPS = 100_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits at which a solve gives up. max_steps: attempted steps in all. max_evals: evaluations of the field, or
    None for no limit. deadline: the value of `time.perf_counter()` at which the call must end, or None. watch: whom to
    tell of each step, who may end the call; None where nobody watches."""

    max_steps: int = DEFAULT_MAX_STEPS
    max_evals: int | None = None
    deadline: float | None = None
    watch: Watch | None = None

    def exceeded(self, evaluations: int, cost: int, *, steps: int | None, time: float | None) -> Status:
        """OK, or the status of the limit that forbids the next step.

        evaluations, steps, time: what the solve did so far, and the time that it reached; None where that is not known.
        cost: the evaluations of the next step.
        """
        if self.max_evals is not None and evaluations + cost > self.max_evals:
            return Status.EVALUATION_LIMIT
        if self.deadline is not None and perf_counter() >= self.deadline:
            return Status.DEADLINE
        if self.watch is not None and not self.watch.goes_on(steps=steps, evaluations=evaluations, time=time):
            return Status.CANCELLED
        return Status.OK
