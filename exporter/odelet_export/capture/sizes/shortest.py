"""Conditions on sizes, as few and as short as they can be said.

A tracer notes many conditions where one would do: to divide an axis in two it asks whether the size is a multiple of 2,
and then much that follows from that. What follows, and what it comes to, is found by trying all small sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, reduce
from itertools import product
from operator import and_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from odelet_export.capture.sizes.conditions import SizeCondition

Table = NDArray[np.bool_]
# The sizes that are tried, by the number of axes of a condition. The large ones show what holds for small sizes only.
_TRIED: dict[int, tuple[int, ...]] = {
    1: (*range(260), 1000, 1001, 10007, 65536, 1048576, 9699690),
    2: (*range(25), 64, 1001),
    3: (*range(13), 16, 25),
    4: (2, 3, 4, 5, 8, 12, 15),
}
_LARGEST_DIVISOR = 64
# A condition of more characters tells its reader nothing.
_LONGEST = 100


def fewest(conditions: Iterable[SizeCondition]) -> list[SizeCondition]:
    """The conditions without those that follow from others or hold for all sizes, each in its shortest form."""
    kept: dict[str, SizeCondition] = {}
    for condition in conditions:
        for part in _parts(_without_idle_axes(condition)):
            short = _shortest(part)
            kept.setdefault(short.text, short)
    left = list(kept.values())
    for condition in reversed(left.copy()):
        if follows(condition, [other for other in left if other is not condition]):
            left.remove(condition)
    return left


def follows(condition: SizeCondition, others: Iterable[SizeCondition]) -> bool:
    """Whether a condition holds wherever all the others do, as far as sizes were tried."""
    labels = condition.labels
    if len(labels) not in _TRIED:
        return not labels or any(other.text == condition.text for other in others)
    about = [other for other in others if set(other.labels) <= set(labels) and other.labels]
    tables = [_table(other, labels) for other in about]
    return bool((_table(condition, labels) | ~reduce(and_, tables, np.ones((), bool))).all())


def in_words(condition: SizeCondition) -> str:
    """A condition that no formula says: some sizes of its axes for which it holds, and some for which it does not."""
    labels = condition.labels
    if len(labels) != 1:
        return f"a condition on {' and '.join(labels)} that no short formula says"
    sizes = [size for size in _TRIED[1] if 2 <= size <= 40]
    yes, no = ([n for n in sizes if condition.holds([n]) is wanted][:6] for wanted in (True, False))
    shown = [f"{labels[0]} = {', '.join(map(str, row))}" if row else "none of the sizes tried" for row in (yes, no)]
    return f"a condition that holds for {shown[0]} and not for {shown[1]}"


@cache
def _values(condition: SizeCondition, count: int) -> Table:
    """Whether a condition holds, or says nothing, at the sizes that are tried for so many axes: an axis for each of its
    labels."""
    sizes, labels = _TRIED[count], condition.labels
    held = [condition.holds(row) for row in product(sizes, repeat=len(labels))]
    return np.array(held, bool).reshape([len(sizes)] * len(labels))


def _table(condition: SizeCondition, labels: Sequence[str]) -> Table:
    """Whether a condition holds at the sizes that are tried for the labels: an axis for each of them, of length 1 where
    the condition is not about it."""
    values = _values(condition, len(labels))
    return values.reshape([values.shape[0] if label in condition.labels else 1 for label in labels])


def _said(condition: SizeCondition, count: int) -> Table:
    """Which of the sizes that are tried for so many axes a condition is about."""
    return np.array(_TRIED[count]) >= (0 if condition.by_user else 2)


def _without_idle_axes(condition: SizeCondition) -> SizeCondition:
    """A condition without the axes whose sizes make no difference."""
    labels = condition.labels
    if not 1 < len(labels) <= max(_TRIED):
        return condition
    said = _said(condition, len(labels))
    table = _table(condition, labels)
    for axis in range(len(labels)):
        table = table.compress(said, axis)
    idle = [axis for axis in range(len(labels)) if (table == table.take([0], axis)).all()]
    # Without any axis nothing would be left to say where the condition never holds.
    idle = idle[1:] if len(idle) == len(labels) else idle
    # A factor of 1 can be left out, where 1 is no special case.
    short, sure = (condition.at({labels[axis]: size for axis in idle}) for size in (1, 12))
    return short if np.array_equal(_table(short, short.labels), _table(sure, sure.labels)) else sure


def _parts(condition: SizeCondition) -> Iterator[SizeCondition]:
    """Conditions on one axis each that together say the same as a condition on several; else the condition itself."""
    labels = condition.labels
    if not 1 < len(labels) <= max(_TRIED):
        yield condition
        return
    sizes, said = np.array(_TRIED[len(labels)]), _said(condition, len(labels))
    table = _table(condition, labels)
    for axis in range(len(labels)):
        table = table.compress(said, axis)
    others = [tuple(other for other in range(len(labels)) if other != axis) for axis in range(len(labels))]
    alone = [table.any(axes) for axes in others]
    if not table.any() or not np.array_equal(reduce(np.multiply.outer, alone), table):
        yield condition
        return
    at = dict(zip(labels, (int(sizes[said][row.argmax()]) for row in alone), strict=True))
    for label in labels:
        yield condition.at({other: size for other, size in at.items() if other != label})


def _shortest(condition: SizeCondition) -> SizeCondition:
    """A condition on one size as a remainder or a limit, and one on two as a comparison, if it is one; else the
    condition itself."""
    labels = condition.labels
    if len(labels) not in (1, 2):
        return condition
    said, sizes = _said(condition, len(labels)), np.array(_TRIED[len(labels)])
    wanted = _table(condition, labels)
    for axis in range(len(labels)):
        wanted = wanted.compress(said, axis)
    forms = _of_one(labels[0], sizes[said], wanted) if len(labels) == 1 else _of_two(labels, sizes[said])
    found = next((text for text, table in forms if np.array_equal(table, wanted)), condition.text)
    return replace(condition, text=found)


def is_readable(condition: SizeCondition) -> bool:
    """Whether a card can say a condition, in a line that a reader takes in."""
    return condition.formula is not None and len(condition.text) <= _LONGEST


def _of_one(label: str, sizes: NDArray[Any], wanted: Table) -> Iterator[tuple[str, Table]]:
    """Conditions on one size, the shortest first, each with where it is true."""
    comparisons: dict[str, Callable[[Any, int], Table]] = {
        ">=": np.greater_equal,
        "<=": np.less_equal,
        "!=": np.not_equal,
        "==": np.equal,
    }
    for sign, compare in comparisons.items():
        yield from ((f"{label} {sign} {k}", compare(sizes, k)) for k in range(1, 257))
    remainders = [(f"{label} % {k} == {r}", sizes % k == r) for k in range(2, _LARGEST_DIVISOR + 1) for r in range(k)]
    yield from remainders
    yield from ((text.replace("==", "!="), ~table) for text, table in remainders)
    root = np.sqrt(sizes).astype(np.int64)
    yield f"isqrt({label})*isqrt({label}) == {label}", root * root == sizes
    true = sizes[wanted]
    if true.size:
        least, largest = int(true.min()), int(true.max())
        yield f"{least} <= {label} <= {largest}", (sizes >= least) & (sizes <= largest)
        for text, table in remainders:
            yield f"{text} and {label} >= {least}", table & (sizes >= least)
            yield f"{text} and {label} <= {largest}", table & (sizes <= largest)


def _of_two(labels: Sequence[str], sizes: NDArray[Any]) -> Iterator[tuple[str, Table]]:
    """Conditions on two sizes, the shortest first, each with where it is true."""
    a, b = labels
    row, column = sizes[:, None], sizes[None, :]
    for k in range(1, 9):
        factor = f"{k}*" if k > 1 else ""
        for left, right, x, y in ((a, b, row, column), (b, a, column, row)):
            yield f"{left} == {factor}{right}", x == k * y
            yield f"{left} <= {factor}{right}", x <= k * y
            yield f"{left} >= {factor}{right}", x >= k * y
            yield f"{left} == {factor}{right} + 1", x == k * y + 1
