"""What a solve did: statuses, counts of steps and field evaluations, and the time reached."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from odelet.errors import ArtifactError
from odelet.status import Status


def status_of(code: int) -> Status:
    """The status of a graph's code. Raises ArtifactError for a code that this odelet does not know."""
    for status in Status:
        if status.value == code:
            return status
    raise ArtifactError(
        f"a solve ended with status {code}, which this odelet does not know; upgrade with: pip install --upgrade odelet"
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
        known = {code: status_of(code) for code in set(status.tolist())}
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
