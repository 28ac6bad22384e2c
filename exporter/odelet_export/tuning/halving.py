"""Successive halving: all candidates on few calls, the better part of them on more, the last ones on all.

The law here: the error of a candidate is the largest of any sample, so more calls only raise it. What is above the
target on some calls is above it on all, and is never the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import Protocol, TypeVar

# From round to round the calls grow by this factor, from at least so many.
GROWTH, LEAST = 4, 6
# A time over the budget by less may be noise.
NEARLY = 1.2


class Scored(Protocol):
    """A row: the largest error, and the time of a call, of a candidate on some calls; infinite where it failed."""

    @property
    def worst(self) -> float: ...

    @property
    def time(self) -> float: ...


T = TypeVar("T", bound=Scored)


def rounds(calls: int) -> list[int]:
    """How many calls each round measures on; all in the last."""
    found = [calls]
    while found[0] / GROWTH >= LEAST:
        found.insert(0, ceil(found[0] / GROWTH))
    return found


def front(rows: Iterable[T]) -> list[T]:
    """The Pareto front: those for which no other is as exact and faster, or as fast and more exact; fastest first."""
    found: list[T] = []
    for row in sorted(rows, key=lambda row: (row.time, row.worst)):
        if row.worst < min((kept.worst for kept in found), default=inf):
            found.append(row)
    return found


def survivors(rows: Sequence[T], target: float) -> list[T]:
    """Those that go on to the next round: the front, and of the others the better half.

    Better is what meets the target in less time; what misses it comes after, by its error. Failures never go on.
    """
    alive = [row for row in rows if row.worst < inf]
    kept = front(alive)
    others = [row for row in alive if row not in kept]
    others.sort(key=lambda row: (row.worst > target, row.time if row.worst <= target else row.worst))
    better = kept + others[: ceil(len(others) / 2)]
    return [row for row in rows if row in better]


def choice(rows: Iterable[T], target: float, budget: float = inf) -> T | None:
    """The cheapest of those that meet the target within the budget, of rows on all calls."""
    good = [row for row in rows if row.worst <= target and row.time <= budget]
    return min(good, key=lambda row: row.time, default=None)


def nearest(rows: Sequence[T], target: float) -> T | None:
    """What comes nearest where nothing is good enough: the cheapest that meets the target, or the most exact."""
    return choice(rows, target) or min(
        (row for row in rows if row.worst < inf), key=lambda row: row.worst, default=None
    )


def still_open(rows: Iterable[T], target: float, budget: float, chosen: T | None) -> list[T]:
    """Of rows on fewer calls, those that may yet be the choice, fastest first: they meet the target so far, and are
    faster than what is chosen, or within the budget where nothing is."""
    limit = NEARLY * budget if chosen is None else chosen.time
    return sorted((row for row in rows if row.worst <= target and row.time < limit), key=lambda row: row.time)
