"""The places of values in one piece of memory: values that are never needed at the same time share theirs.

The law here: a value has its place from the instruction that makes it to the last one that reads it; where that is in
a loop and the value comes from outside, to the end of the loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from odelet_export.targets.build.instructions import (
    Block,
    Bounded,
    Call,
    Choice,
    Copy,
    Loop,
    Put,
    Section,
    Stored,
    Value,
    everything,
    inner,
    read_by,
)

ALIGNMENT = 16
# Trying the largest values first takes time that grows with the square of their number.
_MOST_TRIED = 1500


@dataclass(frozen=True)
class Plan:
    """offsets: the place of each value, in bytes. arena: the bytes of all. live: the largest number of bytes that are
    in use at once."""

    offsets: Mapping[Value, int]
    arena: int
    live: int


@dataclass
class _Times:
    """From when to when each value is needed. twins: pairs of values that change places. now: the number of the
    instruction."""

    twins: Mapping[Value, Value]
    first: dict[Value, int] = field(default_factory=dict)
    last: dict[Value, int] = field(default_factory=dict)
    now: int = 0

    def touch(self, stored: Stored | None) -> None:
        if isinstance(stored, Value):
            for value in {stored, self.twins.get(stored, stored)}:
                self.first.setdefault(value, self.now)
                self.last[value] = self.now


def planned(body: Block, *, elsewhere: Collection[Value], kept: Collection[Stored]) -> Plan:
    """Find a place for each value of a program. elsewhere: the values that lie in memory of their own. kept: those that
    are read after the program."""
    pairs = [pair for loop in everything(body) if isinstance(loop, Loop) for pair in loop.carried]
    times = _Times({one.now: one.after for one in pairs} | {one.after: one.now for one in pairs})
    _walk(body, times)
    times.now += 1
    for stored in kept:
        times.touch(stored)
    values = [value for value in times.first if value.nbytes and value not in set(elsewhere)]
    spans = {value: (times.first[value], times.last[value]) for value in values}
    in_order = sorted(values, key=lambda value: spans[value][0])
    tries = [_placed(in_order, spans, in_order=True)]
    if len(values) <= _MOST_TRIED:
        largest = sorted(values, key=lambda value: (-value.nbytes, spans[value][0]))
        tries.append(_placed(largest, spans, in_order=False))
    placed = min(tries, key=_end)
    return Plan(placed, _end(placed), _most_live(spans))


def _end(offsets: Mapping[Value, int]) -> int:
    return max((offset + _room(value) for value, offset in offsets.items()), default=0)


def _walk(block: Block, times: _Times) -> None:
    for instruction in block:
        times.now += 1
        for stored in read_by(instruction):
            times.touch(stored)
        match instruction:
            case Call():
                for value in instruction.outputs:
                    times.touch(value)
            case Copy() | Bounded() | Put():
                times.touch(instruction.to)
            case Section() | Choice():
                for body in inner(instruction):
                    _walk(body, times)
            case Loop():
                _walk_loop(instruction, times)


def _walk_loop(loop: Loop, times: _Times) -> None:
    outside = set(times.first)
    for one in loop.carried:
        times.touch(one.now)
    for row in loop.rows:
        times.touch(row.stack)
    begun = times.now
    _walk(loop.body, times)
    times.now += 1
    times.touch(loop.again)
    carried = {value for one in loop.carried for value in (one.now, one.after)} | {row.stack for row in loop.rows}
    for value in outside | carried:
        if times.last[value] >= begun:
            times.last[value] = times.now


def _room(value: Value) -> int:
    """The bytes that a value takes: small ones are aligned for their type alone."""
    unit = ALIGNMENT if value.nbytes >= ALIGNMENT else 8
    return -(-value.nbytes // unit) * unit


def _placed(order: list[Value], spans: Mapping[Value, tuple[int, int]], *, in_order: bool) -> dict[Value, int]:
    """Give each value, in this order, the lowest place that is free for all of its time. in_order: whether it is the
    order in which the values are made."""
    offsets: dict[Value, int] = {}
    done: list[tuple[int, int, int, int]] = []  # first, last, offset, end
    for value in order:
        first, last = spans[value]
        room = _room(value)
        unit = min(room, ALIGNMENT)
        place = 0
        if in_order:
            done = [x for x in done if x[1] >= first]
        for _, _, offset, end in sorted((x for x in done if x[0] <= last and first <= x[1]), key=lambda x: x[2]):
            if place + room <= offset:
                break
            place = max(place, -(-end // unit) * unit)
        offsets[value] = place
        done.append((first, last, place, place + room))
    return offsets


def _most_live(spans: Mapping[Value, tuple[int, int]]) -> int:
    changes: dict[int, int] = {}
    for value, (first, last) in spans.items():
        changes[first] = changes.get(first, 0) + value.nbytes
        changes[last + 1] = changes.get(last + 1, 0) - value.nbytes
    now = most = 0
    for time in sorted(changes):
        now += changes[time]
        most = max(most, now)
    return most
