"""Changes of one row of an array, and loops that make them where the array is.

The law here: a value is changed in its place only where nothing reads what it was before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from odelet_export.targets.build.instructions import (
    Block,
    Call,
    Carried,
    Constant,
    Copy,
    Instruction,
    Loop,
    Put,
    Stored,
    Value,
    everything,
    flat,
    inner,
    read_by,
    rename,
    written_by,
)


def put_rows(block: Block) -> None:
    """Have a block, and those inside it, put a row into an array where nodes choose between the row and all others."""
    equal: dict[Stored, Call] = {
        call.outputs[0]: call for call in everything(block) if isinstance(call, Call) and call.operator.kind == "Equal"
    }
    _put_rows(block, equal)


def _put_rows(block: Block, equal: Mapping[Stored, Call]) -> None:
    for number, instruction in enumerate(block):
        if isinstance(instruction, Call) and instruction.operator.kind == "Where":
            block[number] = _put(instruction, equal) or instruction
        for body in inner(instruction):
            _put_rows(body, equal)


def _put(where: Call, equal: Mapping[Stored, Call]) -> Put | None:
    """Where(Equal(0 to count - 1, place), row, rows) is the rows with another one at the place."""
    condition, row, rows = where.inputs
    assert row is not None and rows is not None
    seen, beside, whole = where.operator.inputs
    test = equal.get(condition) if condition is not None else None
    shape = where.ports[0].shape
    if test is None or seen is None or beside is None or whole is None or whole.shape != shape or row.size == 0:
        return None
    count, ones = shape[0], (1,) * len(shape)
    if seen.shape != (count, *ones[1:]) or (*ones, *beside.shape)[-len(shape) :] != (1, *shape[1:]):
        return None
    for one, place in (test.inputs, test.inputs[::-1]):
        if not isinstance(one, Constant) or place is None or place.size > 1 or one.dtype != np.int64:
            continue
        if np.array_equal(one.array.reshape(-1), range(count)):
            return Put(rows, row, place, where.outputs[0], count)
    return None


def in_place(body: Block, kept: Collection[Stored]) -> None:
    """Have loops change rows where they are, and carry them without copies. kept: values that stay what they are."""
    for loop in [one for one in everything(body) if isinstance(one, Loop)][::-1]:
        for pair in list(loop.carried):
            if pair.now is not pair.after:
                _join(body, loop, pair, set(kept))
    _take_results(body, body, set(kept))


def _join(body: Block, loop: Loop, pair: Carried, kept: set[Stored]) -> None:
    """Have a loop carry a value in its place, where each turn copies it or changes rows of it."""
    same = _same(loop.body, pair)
    if same is None or kept.intersection(same[1:]):
        return
    _rename_all(everything(body), dict.fromkeys(same, pair.now))
    for home, one in list(flat(loop.body)):
        if isinstance(one, Copy) and one.to is one.source:
            home.remove(one)


def _same(block: Block, pair: Carried) -> list[Value] | None:
    """The values that a turn passes on from what it carries to what comes after, one after the other; or None.

    Each is read by the instruction alone that passes it on, and by a loop that changes rows of it in its place.
    """
    order = [instruction for _, instruction in flat(block)]
    same, start = [pair.now], 0
    while same[-1] is not pair.after:
        now = same[-1]
        readers = [one for one in everything(block) if now in read_by(one)]
        loops = [one for one in order if isinstance(one, Loop) and any(x.now is now for x in one.carried)]
        if loops:
            (inside,) = loops
            if any(one.now is now and one.after is not now for one in inside.carried) or order.index(inside) < start:
                return None
            start = order.index(inside)
            own = {id(one) for one in everything(inside.body)}
            readers = [one for one in readers if id(one) not in own]
        if len(readers) != 1 or readers[0] not in order[start:]:
            return None
        (reader,) = readers
        if not (isinstance(reader, Copy) or (isinstance(reader, Put) and reader.rows is now)):
            return None
        if isinstance(reader, Put) and now in (reader.row, reader.place):
            return None
        start = order.index(reader)
        same.append(reader.to)
    return same


def _take_results(body: Block, block: Block, kept: set[Stored]) -> None:
    """Have what follows a loop read the values that it carried, and no copies of them."""
    everywhere = list(everything(body))
    loops = [one for one in everywhere if isinstance(one, Loop)]
    turning = {value for loop in loops for pair in loop.carried for value in (pair.now, pair.after)}
    turning |= {row.row for loop in loops for row in loop.rows}
    carried: set[Value] = set()
    for home, one in list(flat(block)):
        if isinstance(one, Loop):
            carried |= {pair.now for pair in one.carried}
            _take_results(body, one.body, kept)
        elif isinstance(one, Copy) and one.source in carried and one.to not in turning and one.to not in kept:
            assert isinstance(one.source, Value)
            if sum(one.to in written_by(other) for other in everywhere) == 1:
                home.remove(one)
                _rename_all(everywhere, {one.to: one.source})


def _rename_all(instructions: Iterable[Instruction], names: Mapping[Value, Value]) -> None:
    """Have instructions read and write other values in place of some."""
    known: dict[Stored, Stored] = dict(names.items())
    for instruction in instructions:
        rename(instruction, lambda one: known.get(one, one))
