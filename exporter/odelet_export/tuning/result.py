"""The result of a tuning: its rows and its choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from odelet.errors import OdeletError
from odelet_export.tuning import halving
from odelet_export.tuning.record import Record, Row, write_record


class TargetError(OdeletError):
    """The error of a tuning in which no candidate is good enough. nearest: the row that is nearest to a choice, or None
    where all candidates failed."""

    exit_code = 3

    def __init__(self, message: str, nearest: Row | None) -> None:
        # Both go to args, so that the error survives pickling between processes.
        super().__init__(message, nearest)
        self.message = message
        self.nearest = nearest

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Tuning:
    """The result of a tuning.

    folder: the folder of its files. record: the contents of tune.json. calls: the number of calls in all data, on which
    the choice was measured. fresh: the number of rows that this run measured; earlier runs measured the others.

    >>> from odelet_export.tuning.candidates import Candidate
    >>> rows = [
    ...     Row(candidate=Candidate(form="rolled", method="rk4", steps=n), calls=8, samples=8, error=e, milliseconds=ms)
    ...     for n, e, ms in ((2, 1e-2, 0.1), (4, 1e-4, 0.2), (8, 1e-5, 0.3))
    ... ]
    >>> record = Record(
    ...     identity={}, baseline=rows[0].candidate, milliseconds=1.0, inputs=(), reference={}, seed=0, target=1e-3,
    ...     rows=tuple(rows),
    ... )
    >>> str(Tuning(Path("tune"), record, calls=8, fresh=3).choice.candidate)
    'rk4, 4 steps, rolled'
    """

    folder: Path
    record: Record
    calls: int
    fresh: int

    @property
    def rows(self) -> list[Row]:
        """The last row of each candidate: the rows on all calls first, the fastest of them first, then the others."""
        return sorted(
            self.record.latest().values(),
            key=lambda row: (-row.calls if row.worst < inf else 0, row.time, row.worst),
        )

    @property
    def complete(self) -> list[Row]:
        """The rows on all calls that did not fail."""
        return [row for row in self.rows if row.calls == self.calls and row.worst < inf]

    @property
    def choice(self) -> Row | None:
        """The fastest complete row that meets the target and the budget; None where no row does."""
        return halving.choice(self.complete, self.record.target, self.record.most)

    @property
    def nearest(self) -> Row | None:
        """The choice, or the complete row that is nearest to one; None where all candidates failed."""
        return self.choice or halving.nearest(self.complete, self.record.target)

    @property
    def front(self) -> list[Row]:
        """The Pareto front of the rows on all calls, fastest first."""
        return halving.front(self.complete)

    def commanded(self, command: str, *, build: str = "") -> Tuning:
        """The tuning with the commands that make the choice; tune.json is written again with them. build: the one that
        makes its library, where the choice is one."""
        record = replace(self.record, command=command, build=build)
        write_record(self.folder, record)
        return replace(self, record=record)

    def raise_if_none(self) -> Row:
        """Return the choice; raise TargetError, which names the nearest row, where there is none."""
        if self.choice is not None:
            return self.choice
        within = "" if self.record.budget is None else f" in at most {self.record.budget:g} ms"
        near = self.nearest
        nearest = "every candidate failed; tune.md says why"
        if near is not None:
            nearest = f"the nearest is {near.candidate}: error {near.worst:.2g}, {near.time:.3g} ms"
        raise TargetError(
            f"nothing that was tried has an error of at most {self.record.target:g}{within}; {nearest}. "
            "Loosen the target or the budget, or try other methods, steps or tolerances",
            near,
        )
