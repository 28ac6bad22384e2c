"""The solution that a call of a model returns. The law here: a failed solve is a value, until the caller asks for an
exception."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from odelet.errors import InputError, SolveError
from odelet.loops.stats import SolveStats, Stats
from odelet.loops.trajectory import Trajectory
from odelet.numerics.backend import NumpyArray
from odelet.status import Status

_GOOD = (Status.OK, Status.EVENT)


@dataclass(frozen=True)
class Solution:
    """The outputs of a call, by name, with its statistics.

    status: OK, or the status of the first solve that failed. After a failure the outputs are those of a solve that
    stopped early (with the state reached at a deadline or max_evals; with the iterate that changed least where an
    iteration did not converge; with the bounded answer of a sample that a fallback could not solve again), or there are
    none, as when a deadline ended a graph; look at the status before you use them. EVENT is no failure: the outputs
    after a terminal event are NaN. events: the occurrences of each event that was looked for, one Occurrences for each
    event; for a model whose events were given by the index of the solve, a dictionary by that index. trajectories: the
    solves whose steps were kept, by index. noise: the random numbers that the call used, drawn or given, by the name of
    their input; the same noise given to another call brings the same answer.

    >>> import numpy as np, odelet
    >>> solution = odelet.odeint(lambda t, y: -y, np.array([1.0]), [0.0, 1.0], dense=True)
    >>> solution.status.name
    'OK'
    >>> solution.raise_if_failed().outputs["y"].shape
    (2, 1)
    >>> solution.at(0.5).round(4)
    array([0.6065])
    """

    outputs: dict[str, NumpyArray]
    stats: Stats
    status: Status
    events: Any = ()
    trajectories: dict[int, Trajectory] = field(default_factory=dict)
    noise: dict[str, NumpyArray] = field(default_factory=dict)

    def at(self, t: Any, *, solve: int = 0) -> NumpyArray | tuple[NumpyArray, ...]:
        """The state of a solve at a time or an array of times, (*times, *shape), or a tuple for a tuple state.

        Needs `dense=True` in the call. Raises InputError without it, or for a time outside the range that was solved.
        """
        if solve not in self.trajectories:
            kept_indices = ", ".join(map(str, self.trajectories)) or "none"
            raise InputError(
                f"the steps of solve={solve!r} were not kept (kept: {kept_indices}); solve with dense=True"
            )
        return self.trajectories[solve].at(t)

    def raise_if_failed(self) -> Solution:
        """Return the solution itself, or raise SolveError saying which solve failed, how, when, and what to try."""
        if self.status in _GOOD:
            return self
        ended = [solve for solve in self.stats.solves if solve.status is self.status]
        # Nothing is known of a solve that the end of the call left unread; the one that was stopped has counts.
        counted = [solve for solve in ended if (solve.steps, solve.evaluations) != (None, None)]
        failed = next(iter(counted or ended), None)
        if failed is None:  # the deadline passed outside the solves
            message = f"the call stopped: {self.status.sentence}; {self.status.advice}"
            raise SolveError(message, self.status, None, None)
        origin = f"{failed.method}, {failed.source}" if failed.source else failed.method
        how = "is not to be trusted" if failed.status is Status.OUT_OF_TOLERANCE else "stopped"
        inside = ""
        if failed.nested and failed.status is Status.NOT_FINITE:
            inside = f"; or a solve inside its field failed: {' | '.join(failed.nested)}"
        raise SolveError(
            f"solve {failed.index} ({origin}) {how}{_where(failed)}: {failed.status.sentence}; "
            f"{failed.status.advice}{inside}",
            failed.status,
            failed.time,
            failed.index,
        )


def _where(failed: SolveStats) -> str:
    """The time and the samples at which a solve failed, as the message has them."""
    time = "" if failed.time is None else f" at time {failed.time:.6g}"
    unsolved = [sample for sample in failed.guarded if sample not in failed.resolved]
    if failed.error_ratio and unsolved:
        first, count = unsolved[0], len(failed.error_ratio)
        sample = f"sample {first} (error_ratio {failed.error_ratio[first]:.3g})"
        return f" for {len(unsolved)} of {count} samples, the first of them {sample}"
    if failed.samples is not None:
        count = sum(status is not Status.OK for status in failed.samples.status)
        first = failed.samples.status.index(failed.status)
        return f" for {count} of {len(failed.samples.status)} samples, the first of them sample {first}{time}"
    return time
