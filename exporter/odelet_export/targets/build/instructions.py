"""The program of an artifact as instructions on stored values: calls of operators, copies, loops and choices.

The law here: data only. A value is stored once, whatever shapes its readers see, and equality of values is identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from odelet_export.targets.build.operators import Operator, Port

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(eq=False)
class Value:
    """Memory for an array. name: a hint for the reader of the target's code. size: the number of elements."""

    name: str
    dtype: np.dtype[Any]
    size: int

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(eq=False)
class Constant:
    """An array that is the same in each call. name: as for a value."""

    name: str
    array: Array

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def nbytes(self) -> int:
        return self.array.nbytes


Stored: TypeAlias = Value | Constant


@dataclass(frozen=True)
class Seen:
    """A stored value as a graph sees it. shape: the array's; values that are stored once may be seen in more shapes."""

    stored: Stored
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stored.dtype

    @property
    def constant(self) -> Array | None:
        """The array, where it is the same in each call."""
        return self.stored.array.reshape(self.shape) if isinstance(self.stored, Constant) else None


@dataclass(eq=False)
class Call:
    """A call of the code of one operator. inputs: None for optional ones that are not there, and for those that belong
    to the operator. outputs: those that are there. ports: their types."""

    operator: Operator
    inputs: list[Stored | None]
    outputs: list[Value]
    ports: tuple[Port, ...]


@dataclass(eq=False)
class Copy:
    """The bytes of a value, copied to another."""

    source: Stored
    to: Value


@dataclass(eq=False)
class Bounded:
    """Whole numbers, copied to another value, that choose among `sizes` things: from -size to size - 1. The sizes are
    those of the places along the last axis, in turn. The call fails where a number is outside."""

    source: Stored
    to: Value
    sizes: tuple[int, ...]


@dataclass(eq=False)
class Put:
    """Equal rows, one of which is another: `to` is `rows`, with `row` at the place that a whole number says, where that
    is from 0 to count - 1. `to` may be the value `rows` itself, which changes in its place then."""

    rows: Stored
    row: Stored
    place: Stored
    to: Value
    count: int


@dataclass(eq=False)
class Section:
    """Instructions with a name of their own: those of one graph."""

    name: str
    body: Block


@dataclass(eq=False)
class Carried:
    """What a loop carries. now: the value in a turn, and after the loop. after: where a turn puts the next one; the two
    change places between turns, if they are not one value, which turns change in its place."""

    now: Value
    after: Value


@dataclass(eq=False)
class Row:
    """What a loop collects. row: where a turn puts its own. stack: the rows of all turns, one after the other."""

    row: Value
    stack: Value


@dataclass(eq=False)
class Loop:
    """A block that is repeated: at most `most` times (None for no limit), only if `go_on` is true (None if so), and as
    long as a turn makes `again` true (None if so). iteration: the number of the turn, from 0, where a turn reads it."""

    body: Block
    most: Stored | None
    go_on: Stored | None
    again: Stored | None
    iteration: Value | None
    carried: list[Carried]
    rows: list[Row] = field(default_factory=list)


@dataclass(eq=False)
class Choice:
    """One of two blocks, by a bool."""

    condition: Stored
    then: Block
    otherwise: Block


Instruction: TypeAlias = Call | Copy | Bounded | Put | Section | Loop | Choice
Block: TypeAlias = list[Instruction]


def flat(block: Block) -> Iterator[tuple[Block, Instruction]]:
    """The instructions of a block and of its sections, in order, each with the list that holds it."""
    for instruction in block:
        if isinstance(instruction, Section):
            yield from flat(instruction.body)
        else:
            yield block, instruction


def inner(instruction: Instruction) -> list[Block]:
    """The blocks inside an instruction."""
    if isinstance(instruction, (Section, Loop)):
        return [instruction.body]
    return [instruction.then, instruction.otherwise] if isinstance(instruction, Choice) else []


def everything(block: Block) -> Iterator[Instruction]:
    """All instructions of a block, those inside others included."""
    for instruction in block:
        yield instruction
        for body in inner(instruction):
            yield from everything(body)


def read_by(instruction: Instruction) -> list[Stored]:
    """What an instruction itself reads, without the blocks inside it."""
    match instruction:
        case Call():
            read: list[Stored | None] = [*instruction.inputs]
        case Copy() | Bounded():
            read = [instruction.source]
        case Put():
            read = [instruction.rows, instruction.row, instruction.place]
        case Loop():
            read = [instruction.most, instruction.go_on, instruction.again]
        case Choice():
            read = [instruction.condition]
        case _:
            read = []
    return [one for one in read if one is not None]


def written_by(instruction: Instruction) -> list[Value]:
    """What an instruction itself writes, whole, without the blocks inside it."""
    match instruction:
        case Call():
            return instruction.outputs
        case Copy() | Bounded() | Put():
            return [instruction.to]
        case _:
            return []


def rename(instruction: Instruction, name: Callable[[Stored], Stored]) -> None:
    """Have an instruction read and write other values. name: the value in the place of each, which is a value again."""

    def value(old: Value) -> Value:
        new = name(old)
        assert isinstance(new, Value)
        return new

    match instruction:
        case Call():
            instruction.inputs = [x if x is None else name(x) for x in instruction.inputs]
            instruction.outputs = [value(x) for x in instruction.outputs]
        case Copy() | Bounded():
            instruction.source, instruction.to = name(instruction.source), value(instruction.to)
        case Put():
            instruction.rows, instruction.row, instruction.place = (
                name(x) for x in (instruction.rows, instruction.row, instruction.place)
            )
            instruction.to = value(instruction.to)
        case Choice():
            instruction.condition = name(instruction.condition)
        case Loop():
            instruction.most, instruction.go_on, instruction.again = (
                x if x is None else name(x) for x in (instruction.most, instruction.go_on, instruction.again)
            )
            for one in instruction.carried:
                one.now, one.after = value(one.now), value(one.after)
