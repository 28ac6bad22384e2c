"""What a call of a model gives back. The law here: a failed solve is a value, until someone asks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from odelet.errors import ArtifactError, InputError, SolveError
from odelet.trajectory import Trajectory


class Status(Enum):
    """How a solve ended. value: the int code in graphs. sentence: in words. advice: what to try next."""

    sentence: str
    advice: str

    OK = (0, "the solve reached its end time", "")
    STEP_LIMIT = (
        1,
        "the step limit was reached before the end time",
        "raise max_steps, or loosen rtol and atol",
    )
    STEP_UNDERFLOW = (
        2,
        "the step became too small to move time forward",
        "check the inputs for NaN and for their scale, loosen rtol and atol, or export the model in float64",
    )
    NOT_FINITE = (
        3,
        "the state became infinite or NaN",
        "check the inputs for NaN and for their scale, or tighten rtol and atol",
    )
    BAD_TIMES = (
        4,
        "the output times are not strictly increasing or strictly decreasing, or step_t and jump_t name one twice",
        "give each time once, in order",
    )
    DEADLINE = (
        5,
        "the deadline passed before the end time",
        "allow more time, or loosen rtol and atol",
    )
    EVALUATION_LIMIT = (
        6,
        "the limit of field evaluations was reached before the end time",
        "raise max_evals, or loosen rtol and atol",
    )
    EVENT = (7, "a terminal event ended the solve before its end time", "")
    NOT_CONVERGED = (
        8,
        "the iteration did not converge",
        "raise max_steps, loosen rtol and atol, or try the method anderson or a smaller tau",
    )

    OUT_OF_TOLERANCE = (
        9,
        "its error estimate is above the tolerance",
        "loosen rtol and atol, or export the model with such inputs among the calibration data, or with fallback",
    )

    def __new__(cls, code: int, sentence: str, advice: str) -> Status:
        member = object.__new__(cls)
        member._value_ = code
        member.sentence = sentence
        member.advice = advice
        return member

    @property
    def usable(self) -> bool:
        """Whether there is a state to go on from: all of it, or what was reached when the solve had to stop."""
        early = (Status.DEADLINE, Status.EVALUATION_LIMIT, Status.EVENT, Status.NOT_CONVERGED)
        return self is Status.OK or self in early

    @classmethod
    def of(cls, code: int) -> Status:
        """Return the status of a graph's code. Raises ArtifactError for one this odelet does not know."""
        for member in cls:
            if member.value == code:
                return member
        raise ArtifactError(
            f"a solve ended with status {code}, which this odelet does not know; "
            "upgrade with: pip install --upgrade odelet"
        )


@dataclass(frozen=True)
class SampleStats:
    """What one solve did for each sample of a batch whose samples are solved each on its own. time: None for an
    iteration, which has no time."""

    status: tuple[Status, ...]
    time: tuple[float, ...] | None
    steps: tuple[int, ...]
    accepted: tuple[int, ...]

    @classmethod
    def of(cls, status: Any, time: Any, steps: Any, accepted: Any) -> SampleStats:
        """From arrays (samples,), the status as codes, the time None where there is none."""
        known = {code: Status.of(code) for code in set(status.tolist())}
        statuses = tuple(known[code] for code in status.tolist())
        times = None if time is None else tuple(time.tolist())
        return cls(statuses, times, tuple(steps.tolist()), tuple(accepted.tolist()))

    @property
    def worst(self) -> Status:
        """OK, or the status of the first sample that failed."""
        return next((status for status in self.status if status is not Status.OK), Status.OK)


@dataclass(frozen=True)
class SolveStats:
    """What one solve did; None where the form cannot know.

    index: in the card. steps: attempted, of which accepted and rejected; the turns of an iteration are steps.
    evaluations: calls of the field. time: reached, in the model's unit. source: where the model calls the solver, as in
    the card. unconverged: steps whose iteration did not converge, so that the answer may be wrong; None for a method
    that iterates nothing. samples: of each sample, where they are solved each on its own; steps, accepted and rejected
    are then summed over them, evaluations are calls for all at once, status and time are those of the first that
    failed. nested: a line about each solve inside its field, as in the card. error_ratio: of a bounded solve, the
    largest estimated error of a step over the tolerance, for each sample, or one for a state that is one whole.
    resolved: the numbers of the samples that were solved again as that was above 1; what it took is counted in.
    """

    index: int
    method: str
    form: str
    steps: int | None
    accepted: int | None
    rejected: int | None
    evaluations: int | None
    status: Status
    time: float | None
    source: str = ""
    unconverged: int | None = None
    samples: SampleStats | None = None
    nested: tuple[str, ...] = ()
    error_ratio: tuple[float, ...] | None = None
    resolved: tuple[int, ...] = ()

    @classmethod
    def of_samples(
        cls, samples: SampleStats, *, index: int, method: str, form: str, evaluations: int | None, source: str
    ) -> SolveStats:
        """The totals of a batch whose samples are solved each on its own."""
        steps, accepted = sum(samples.steps), sum(samples.accepted)
        worst = samples.worst
        time = samples.time[samples.status.index(worst)] if samples.time else None
        return cls(
            index=index,
            method=method,
            form=form,
            steps=steps,
            accepted=accepted,
            rejected=steps - accepted,
            evaluations=evaluations,
            status=worst,
            time=time,
            source=source,
            samples=samples,
        )

    @property
    def guarded(self) -> tuple[int, ...]:
        """The samples of a bounded solve whose error_ratio is above 1."""
        return tuple(i for i, ratio in enumerate(self.error_ratio or ()) if not ratio <= 1)

    def warn_unconverged(self) -> None:
        """Warn, where torchdiffeq would, of steps whose iteration did not converge."""
        if self.unconverged:
            origin = f"{self.method}, {self.source}" if self.source else self.method
            of = "" if self.steps is None else f" of {self.steps}"
            warnings.warn(
                f"solve {self.index} ({origin}): the iteration did not converge in {self.unconverged}{of} steps, so "
                "the answer may be wrong; take smaller steps, allow more turns with max_iters, or use float64",
                RuntimeWarning,
                stacklevel=3,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types, the status by name; a time that is not finite is null."""
        time = self.time if self.time is not None and math.isfinite(self.time) else None
        samples = self.samples
        told = None if samples is None else {**samples.__dict__, "status": [x.name for x in samples.status]}
        ratios = self.error_ratio
        finite = None if ratios is None else [ratio if math.isfinite(ratio) else None for ratio in ratios]
        changed = {"time": time, "samples": told, "error_ratio": finite, "resolved": list(self.resolved)}
        return {**self.__dict__, "status": self.status.name, **changed}


def _total(parts: Iterable[int | None]) -> int | None:
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)


@dataclass(frozen=True)
class Stats:
    """What all solves of a call did, in the order they ran; a total is None if any part is unknown."""

    solves: tuple[SolveStats, ...] = ()

    @property
    def steps(self) -> int | None:
        """Steps attempted."""
        return _total(solve.steps for solve in self.solves)

    @property
    def accepted(self) -> int | None:
        """Steps accepted."""
        return _total(solve.accepted for solve in self.solves)

    @property
    def rejected(self) -> int | None:
        """Steps rejected."""
        return _total(solve.rejected for solve in self.solves)

    @property
    def evaluations(self) -> int | None:
        """Calls of the field."""
        return _total(solve.evaluations for solve in self.solves)

    def to_dict(self) -> dict[str, Any]:
        """Return the totals and each solve, as JSON types."""
        return {
            "steps": self.steps,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "evaluations": self.evaluations,
            "solves": [solve.to_dict() for solve in self.solves],
        }


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
