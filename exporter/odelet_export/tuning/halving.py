"""Successive halving: all candidates are measured on a few calls, the better ones on more, and the last ones on all.

The law here: the error of a candidate is its largest error on any sample, so more calls only raise it. A candidate
whose error is above the target on some calls is above it on all calls, and is never the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import Protocol, TypeVar

# The number of calls grows by GROWTH from round to round, from at least LEAST in the first.
GROWTH, LEAST = 4, 6
# A time that exceeds the budget by less than this factor may be noise.
NEARLY = 1.2


class Scored(Protocol):
    """A measured row: the largest error and the time of a call of a candidate; both infinite where it failed."""

    @property
    def worst(self) -> float: ...

    @property
    def time(self) -> float: ...


T = TypeVar("T", bound=Scored)


def rounds(calls: int) -> list[int]:
    """The number of calls that each round measures on; the last round has all `calls`."""
    plan = [calls]
    while plan[0] / GROWTH >= LEAST:
        plan.insert(0, ceil(plan[0] / GROWTH))
    return plan


def front(rows: Iterable[T]) -> list[T]:
    """The Pareto front, fastest first: rows that no other row beats in error or time without losing in the other."""
    best: list[T] = []
    for row in sorted(rows, key=lambda row: (row.time, row.worst)):
        if row.worst < min((other.worst for other in best), default=inf):
            best.append(row)
    return best


def survivors(rows: Sequence[T], target: float) -> list[T]:
    """The rows whose candidates stay for the next round: the front, and the better half of the other rows.

    Rows that meet the target are ordered by time; rows that miss it come after these, ordered by error. A candidate
    that failed never stays.
    """
    alive = [row for row in rows if row.worst < inf]
    best = front(alive)
    others = [row for row in alive if row not in best]
    others.sort(key=lambda row: (row.worst > target, row.time if row.worst <= target else row.worst))
    better = best + others[: ceil(len(others) / 2)]
    return [row for row in rows if row in better]


def choice(rows: Iterable[T], target: float, budget: float = inf) -> T | None:
    """The fastest row that meets the target within the budget, or None. rows: on all calls."""
    good = [row for row in rows if row.worst <= target and row.time <= budget]
    return min(good, key=lambda row: row.time, default=None)


def nearest(rows: Sequence[T], target: float) -> T | None:
    """The row that is nearest to a choice where none is good enough: the fastest that meets the target, or else the
    most exact."""
    return choice(rows, target) or min(
        (row for row in rows if row.worst < inf), key=lambda row: row.worst, default=None
    )


def rivals(rows: Iterable[T], target: float, budget: float, chosen: T | None) -> list[T]:
    """The rows on fewer calls whose candidates may yet be the choice, fastest first: they meet the target so far, and
    are faster than the chosen row, or within the budget where no row is chosen."""
    limit = NEARLY * budget if chosen is None else chosen.time
    return sorted((row for row in rows if row.worst <= target and row.time < limit), key=lambda row: row.time)
