"""The statistics of a solve: its status, its counts of steps and field evaluations, and the time that it reached."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from odelet.artifact.solve_card import DRIVEN
from odelet.errors import ArtifactError
from odelet.numerics.backend import NumpyArray
from odelet.status import Status
from odelet.text import printable

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


def status_of(code: int) -> Status:
    """The status with this code, which a graph gave. Raises ArtifactError for a code that this odelet does not know."""
    for status in Status:
        if status.value == code:
            return status
    raise ArtifactError(
        f"a solve ended with status {code}, which this odelet does not know; upgrade with: pip install --upgrade odelet"
    )


@dataclass(frozen=True)
class SampleStats:
    """The statistics of each sample, for one solve of a batch whose samples are solved each on its own. time: the time
    that each sample reached, or None for an iteration, which has no time."""

    status: tuple[Status, ...]
    time: tuple[float, ...] | None
    steps: tuple[int, ...]
    accepted: tuple[int, ...]

    @classmethod
    def of(cls, status: NumpyArray, time: NumpyArray | None, steps: NumpyArray, accepted: NumpyArray) -> SampleStats:
        """The statistics made of arrays (samples,). status: codes of `Status`. time: None for an iteration.

        Raises ArtifactError for a code that this odelet does not know.
        """
        codes = status.tolist()
        statuses = {code: status_of(code) for code in set(codes)}
        times = None if time is None else tuple(time.tolist())
        return cls(tuple(statuses[code] for code in codes), times, tuple(steps.tolist()), tuple(accepted.tolist()))

    @property
    def worst(self) -> Status:
        """OK, or the status of the first sample that failed."""
        return next((status for status in self.status if status is not Status.OK), Status.OK)


@dataclass(frozen=True, kw_only=True)
class SolveOutcome:
    """The status and counts of a solve, as whatever ran the solve knows them; the fields are those of SolveStats."""

    status: Status
    time: float | None
    steps: int | None = None
    accepted: int | None = None
    evaluations: int | None = None
    unconverged: int | None = None
    samples: SampleStats | None = None
    error_ratio: tuple[float, ...] | None = None

    @classmethod
    def of_samples(cls, samples: SampleStats, *, evaluations: int | None, **more: Any) -> Self:
        """The totals of a batch whose samples are solved each on its own: the counts are summed; status and time are
        those of the first sample that failed. more: the fields that a subclass adds."""
        worst = samples.worst
        return cls(
            status=worst,
            time=samples.time[samples.status.index(worst)] if samples.time else None,
            steps=sum(samples.steps),
            accepted=sum(samples.accepted),
            evaluations=evaluations,
            samples=samples,
            **more,
        )

    def after(self, before: SolveOutcome) -> Self:
        """The outcome of a solve whose earlier part is `before` and whose later part is this: counts are added."""
        return replace(
            self,
            steps=total((before.steps, self.steps)),
            accepted=total((before.accepted, self.accepted)),
            evaluations=total((before.evaluations, self.evaluations)),
            unconverged=total((before.unconverged, self.unconverged)),
        )


class SolveOrigin(Protocol):
    """The identity of a solve: the part of the solve's card that its statistics repeat."""

    @property
    def index(self) -> int: ...

    @property
    def method(self) -> str: ...

    @property
    def form(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def nested(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class FunctionSolve:
    """The identity of a solve that no card describes, as `odeint` and `sdeint` solve it."""

    method: str
    index: int = 0
    form: str = DRIVEN.name
    source: str = ""
    nested: tuple[str, ...] = ()


@dataclass(frozen=True)
class SolveStats:
    """The statistics of one solve; a field is None where the form cannot know it.

    index: the number of the solve in the card. steps: the attempted steps, the sum of accepted and rejected; the turns
    of an iteration count as steps. evaluations: the number of evaluations of the field. time: the time that the solve
    reached, in the model's unit. source: where the model calls the solver, as in the card. unconverged: the number of
    steps whose iteration did not converge, so that the answer may be wrong; None for a method that iterates nothing.
    samples: the counts of each sample, where samples are solved each on its own; steps, accepted and rejected are then
    summed over the samples, evaluations are those of the whole batch at once, status and time are those of the first
    sample that failed. nested: a line about each solve inside the field, as in the card. error_ratio: the largest error
    ratio of a step of a bounded solve or of an SDE with adaptive steps, for each sample, or one number for a state that
    is solved as a whole. resolved: the numbers of the samples that were solved again because their error ratio was
    above 1; the counts include the steps and evaluations of that second solve.
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
    def of(cls, solve: SolveOrigin, outcome: SolveOutcome) -> SolveStats:
        """The statistics of a solve with this outcome. solve: the solve's identity."""
        steps, accepted = outcome.steps, outcome.accepted
        return cls(
            index=solve.index,
            method=solve.method,
            form=solve.form,
            steps=steps,
            accepted=accepted,
            rejected=None if steps is None or accepted is None else steps - accepted,
            evaluations=outcome.evaluations,
            status=outcome.status,
            time=outcome.time,
            source=solve.source,
            unconverged=outcome.unconverged,
            samples=outcome.samples,
            nested=solve.nested,
            error_ratio=outcome.error_ratio,
        )

    @property
    def guarded(self) -> tuple[int, ...]:
        """The samples of a bounded solve whose error ratio is above 1, or is no number."""
        return tuple(i for i, ratio in enumerate(self.error_ratio or ()) if not ratio <= 1)

    def warn_unconverged(self) -> None:
        """Warn, as torchdiffeq would, if the iteration of any step did not converge."""
        if self.unconverged:
            origin = printable(f"{self.method}, {self.source}" if self.source else self.method)
            of_steps = "" if self.steps is None else f" of {self.steps}"
            warnings.warn(
                f"solve {self.index} ({origin}): the iteration did not converge in {self.unconverged}{of_steps} steps, "
                "so the answer may be wrong; take smaller steps, allow more turns with max_iters, or use float64",
                RuntimeWarning,
                stacklevel=3,
            )

    def warn_above_tolerance(self) -> None:
        """Warn, as torchsde would, if steps of an SDE were accepted whose error is above the tolerance."""
        if self.status is Status.OK and set(self.guarded) - {*self.resolved}:
            origin = printable(f"{self.method}, {self.source}" if self.source else self.method)
            warnings.warn(
                f"solve {self.index} ({origin}): steps of the least length, dt_min, were accepted with an error of up "
                f"to {max(self.error_ratio or ()):.3g} times the tolerance, so the answer may be wrong; take a smaller "
                "dt_min, or loosen rtol and atol",
                RuntimeWarning,
                stacklevel=3,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types: the status by its name, and null for a time or ratio that is not finite."""
        time = self.time if self.time is not None and math.isfinite(self.time) else None
        samples = self.samples
        by_sample = None if samples is None else {**samples.__dict__, "status": [x.name for x in samples.status]}
        ratios = self.error_ratio
        finite = None if ratios is None else [ratio if math.isfinite(ratio) else None for ratio in ratios]
        changed = {"time": time, "samples": by_sample, "error_ratio": finite, "resolved": list(self.resolved)}
        return {**self.__dict__, "status": self.status.name, **changed}


def total(counts: Iterable[int | None]) -> int | None:
    """The sum of counts, or None if any of them is unknown."""
    numbers = list(counts)
    return None if None in numbers else sum(number for number in numbers if number is not None)


@dataclass(frozen=True)
class Stats:
    """The statistics of all solves of a call, in the order they ran; a total is None if any solve's count is unknown.

    >>> import numpy as np, odelet
    >>> stats = odelet.odeint(lambda t, y: -y, np.array([1.0]), [0.0, 1.0], rtol=1e-6, atol=1e-6).stats
    >>> stats.steps == stats.accepted + stats.rejected
    True
    >>> stats.solves[0].method, stats.solves[0].status.name
    ('dopri5', 'OK')
    """

    solves: tuple[SolveStats, ...] = ()

    @property
    def steps(self) -> int | None:
        """The number of attempted steps."""
        return total(solve.steps for solve in self.solves)

    @property
    def accepted(self) -> int | None:
        """The number of accepted steps."""
        return total(solve.accepted for solve in self.solves)

    @property
    def rejected(self) -> int | None:
        """The number of rejected steps."""
        return total(solve.rejected for solve in self.solves)

    @property
    def evaluations(self) -> int | None:
        """The number of evaluations of the field."""
        return total(solve.evaluations for solve in self.solves)

    def to_dict(self) -> dict[str, Any]:
        """Return the totals and each solve, as JSON types."""
        totals = {name: getattr(self, name) for name in ("steps", "accepted", "rejected", "evaluations")}
        return {**totals, "solves": [solve.to_dict() for solve in self.solves]}
