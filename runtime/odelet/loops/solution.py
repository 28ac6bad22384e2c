"""What a call of a model gives back. The law here: a failed solve is a value, until someone asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from odelet.errors import InputError, SolveError
from odelet.loops.stats import Stats
from odelet.loops.trajectory import Trajectory
from odelet.status import Status


@dataclass(frozen=True)
class Solution:
    """The outputs of a call, by name, with its statistics.

    status: OK, or that of the first solve that failed. After a failure the outputs are those of a solve
    that stopped early (after a deadline or max_evals: of the state it had reached; of an iteration that did not
    converge: what changed least), or none at all; do not use
    them without looking at the status. EVENT is no failure: the outputs after a terminal event are NaN. events:
    when each event that was asked for happened; of a model, by the index of the solve. trajectories: the solves
    that were kept, by index. noise: the random numbers that went in, drawn or given, by the name of their input; given
    again, they bring the same answer.
    """

    outputs: dict[str, np.ndarray[Any, Any]]
    stats: Stats
    status: Status
    events: Any = ()
    trajectories: dict[int, Trajectory] = field(default_factory=dict)
    noise: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    def at(self, t: Any, *, solve: int = 0) -> Any:
        """The state of a solve at a time or an array of times, (*times, *shape), or a tuple for a tuple state.

        Needs `dense=True` in the call. Raises InputError without it, or for a time outside the range solved.
        """
        if solve not in self.trajectories:
            kept = ", ".join(map(str, self.trajectories)) or "none"
            raise InputError(f"solve={solve!r} was not kept (kept: {kept}); solve with dense=True")
        return self.trajectories[solve].at(t)

    def raise_if_failed(self) -> Solution:
        """Return self, or raise SolveError saying which solve failed, how, when, and what to try."""
        good = (Status.OK, Status.EVENT)
        if self.status in good:
            return self
        failed = next((solve for solve in self.stats.solves if solve.status not in good), None)
        assert failed is not None, "a failed Solution holds the solve that failed"
        origin = f"{failed.method}, {failed.source}" if failed.source else failed.method
        how = "is not to be trusted" if failed.status is Status.OUT_OF_TOLERANCE else "stopped"
        where = "" if failed.time is None else f" at time {failed.time:.6g}"
        if failed.samples is not None:
            count = sum(status is not Status.OK for status in failed.samples.status)
            first = failed.samples.status.index(failed.status)
            where = f" for {count} of {len(failed.samples.status)} samples, the first of them sample {first}{where}"
        if failed.error_ratio and failed.guarded:
            first, count = failed.guarded[0], len(failed.error_ratio)
            told = f"sample {first} (error_ratio {failed.error_ratio[first]:.3g})"
            where = f" for {len(failed.guarded)} of {count} samples, the first of them {told}"
        inside = ""
        if failed.nested and failed.status is Status.NOT_FINITE:
            inside = f"; or a solve inside its field failed: {' | '.join(failed.nested)}"
        raise SolveError(
            f"solve {failed.index} ({origin}) {how}{where}: {failed.status.sentence}; {failed.status.advice}{inside}",
            failed.status,
            failed.time,
            failed.index,
        )
