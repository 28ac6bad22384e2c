"""Removes instructions that nothing needs, and copies of values that can be made where they are copied to.

The law here: no call of an operator is changed but in where it puts its results, or left out for a copy of what it
chooses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from odelet_export.targets.build.in_place import in_place, put_rows
from odelet_export.targets.build.instructions import (
    Block,
    Bounded,
    Call,
    Choice,
    Copy,
    Instruction,
    Loop,
    Put,
    Section,
    Stored,
    Value,
    everything,
    flat,
    inner,
    read_by,
    rename,
    written_by,
)


def simplified(body: Block, wanted: Collection[Stored]) -> tuple[Block, Replaced]:
    """The instructions that make the wanted values, with as few copies as possible; and the values that took the
    places of others."""
    put_rows(body)
    body = _needed(body, set(wanted))
    turning = {one.now for loop in everything(body) if isinstance(loop, Loop) for one in loop.carried}
    uses = Counter(stored for one in everything(body) for stored in read_by(one))
    replaced = Replaced()
    _Moving(turning, uses, set(wanted), replaced).block(body)
    for instruction in everything(body):
        rename(instruction, replaced.stored)
    in_place(body, {replaced.stored(one) for one in wanted})
    return body, replaced


class Replaced:
    """Values that others took the places of."""

    def __init__(self) -> None:
        self._by: dict[Stored, Value] = {}

    def replace(self, stored: Stored, by: Value) -> None:
        self._by[stored] = by

    def __contains__(self, stored: Stored) -> bool:
        return stored in self._by

    def stored(self, stored: Stored) -> Stored:
        """What is now in the place of a stored value."""
        while stored in self._by:
            stored = self._by[stored]
        return stored


def _needed(block: Block, wanted: set[Stored]) -> Block:
    """The instructions of a block that the wanted values need. The values that these read are added to `wanted`."""
    kept: Block = []
    for instruction in reversed(block):
        one = _needed_of(instruction, wanted)
        if one is not None:
            kept.append(one)
    return kept[::-1]


def _needed_of(instruction: Instruction, wanted: set[Stored]) -> Instruction | None:
    """What of an instruction is needed, or None."""
    match instruction:
        case Call():
            needed = bool(wanted.intersection(instruction.outputs))
        case Copy() | Bounded() | Put():
            needed = instruction.to in wanted
        case Section():
            body = _needed(instruction.body, wanted)
            return Section(instruction.name, body) if body else None
        case Choice():
            before = [set(wanted), set(wanted)]
            blocks = [_needed(body, one) for body, one in zip(inner(instruction), before, strict=True)]
            if not any(blocks):
                return None
            wanted |= before[0] | before[1] | {instruction.condition}
            return Choice(instruction.condition, *blocks)
        case Loop():
            return _needed_loop(instruction, wanted)
    if not needed:
        return None
    wanted |= set(read_by(instruction))
    return instruction


def _needed_loop(loop: Loop, wanted: set[Stored]) -> Loop | None:
    """The loop with what is needed of what it carries and collects, or None."""
    rows = [row for row in loop.rows if row.stack in wanted]
    carried = [one for one in loop.carried if one.now in wanted]
    if not rows and not carried:
        return None
    while True:
        inside = set(wanted) | {one.after for one in carried} | {row.row for row in rows}
        inside |= {loop.again} if loop.again is not None else set()
        body = _needed(loop.body, inside)
        # A value that is carried is needed, too, where a turn reads it.
        more = [one for one in loop.carried if one.now in inside]
        if len(more) == len(carried):
            break
        carried = more
    kept = Loop(body, loop.most, loop.go_on, loop.again, loop.iteration, carried, rows)
    wanted |= inside | {one.now for one in carried}
    wanted |= set(read_by(kept))
    return kept


@dataclass(frozen=True)
class _Moving:
    """Has values made where they would be copied to. turning: the values that change in the turns of a loop. uses: how
    often each is read. kept: those that are read after the program."""

    turning: set[Value]
    uses: Counter[Stored]
    kept: set[Stored]
    replaced: Replaced

    def block(self, block: Block) -> None:
        """Move the values of a block, and of those inside it."""
        made = {value for _, instruction in flat(block) for value in _made(instruction)} - self.turning
        for home, copy in list(flat(block)):
            if isinstance(copy, Copy) and copy.source in made and self._may_move(copy):
                self.uses[copy.to] += self.uses[copy.source] - 1
                self.replaced.replace(copy.source, copy.to)
                home.remove(copy)
        for _, instruction in list(flat(block)):
            for body in inner(instruction):
                self.block(body)

    def _may_move(self, copy: Copy) -> bool:
        if copy.source in self.replaced:
            return False
        # What a loop starts from is another value after its first turn.
        return copy.to not in self.turning or (self.uses[copy.source] == 1 and copy.source not in self.kept)


def _made(instruction: Instruction) -> set[Value]:
    """The values that an instruction makes, whole."""
    match instruction:
        case Choice():
            first, second = (
                {copy.to for _, copy in flat(body) if isinstance(copy, Copy)} for body in inner(instruction)
            )
            return first & second
        case _:
            return set(written_by(instruction))
