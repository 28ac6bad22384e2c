"""What a tuning found, and what it chose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from odelet.errors import OdeletError
from odelet_export.tuning import halving
from odelet_export.tuning.record import Record, Row, write_record


class TargetError(OdeletError):
    """Nothing that was tried is good enough. nearest: the row that comes nearest, or None where all failed."""

    exit_code = 3

    def __init__(self, message: str, nearest: Row | None) -> None:
        super().__init__(message)
        self.nearest = nearest


@dataclass(frozen=True)
class Tuning:
    """What a tuning found. folder: where it is. record: as in tune.json. calls: of all data, which the choice was
    measured on. fresh: how many rows this run measured; the others were there."""

    folder: Path
    record: Record
    calls: int
    fresh: int

    @property
    def rows(self) -> list[Row]:
        """The last row of each candidate: those on all calls first, fastest first, then the others."""
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
        """The cheapest that is good enough."""
        return halving.choice(self.complete, self.record.target, self.record.most)

    @property
    def nearest(self) -> Row | None:
        """The choice, or what comes nearest to one."""
        return self.choice or halving.nearest(self.complete, self.record.target)

    @property
    def front(self) -> list[Row]:
        """The Pareto front of the rows on all calls, fastest first."""
        return halving.front(self.complete)

    def commanded(self, command: str) -> Tuning:
        """The same, with the command that makes the choice, in tune.json too."""
        record = replace(self.record, command=command)
        write_record(self.folder, record)
        return replace(self, record=record)

    def raise_if_none(self) -> Row:
        """Return the choice, or raise TargetError saying what comes nearest."""
        if self.choice is not None:
            return self.choice
        within = "" if self.record.budget is None else f" in at most {self.record.budget:g} ms"
        near = self.nearest
        told = "everything failed; tune.md says why"
        if near is not None:
            told = f"the nearest is {near.candidate}: error {near.worst:.2g}, {near.time:.3g} ms"
        raise TargetError(
            f"nothing that was tried has an error of at most {self.record.target:g}{within}; {told}. "
            "Loosen the target or the budget, or try other methods, steps or tolerances",
            near,
        )
