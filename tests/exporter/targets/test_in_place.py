"""Rows that turns of loops change where the array is: which arrays do, and what they hold then."""

import numpy as np
import onnx
import pytest

from odelet_export.targets.build.instructions import (
    Call,
    Carried,
    Constant,
    Copy,
    Loop,
    Put,
    Section,
    Value,
    everything,
)
from odelet_export.targets.build.memory import planned
from odelet_export.targets.build.operators import Operator, Port
from odelet_export.targets.build.simplify import simplified

COUNT, WIDTH, TURNS = 5, 3, 4
INT = np.dtype(np.int64)
REAL = np.dtype(np.float32)


def value(name, size=COUNT * WIDTH, dtype=REAL):
    return Value(name, dtype, size)


def call(kind, result, *inputs):
    """A call of an operator. inputs: values or constants, each with its shape. result: a value with its shape."""
    node = onnx.helper.make_node(kind, [f"x{i}" for i in range(len(inputs))], ["y"])
    ports = [Port(one.dtype, shape) for one, shape in inputs]
    operator = Operator.of(node, ports, {}, {"": 18})
    return Call(operator, [one for one, _ in inputs], [result[0]], (Port(result[0].dtype, result[1]),))


def chosen(rows, row, place, result, *, places=None, turned=False):
    """Where(Equal(places, place), row, rows), as two calls."""
    places = np.arange(COUNT)[:, None] if places is None else places
    flag = Value("flag", np.dtype(np.bool_), places.size)
    sides = [(Constant("places", places), places.shape), (place, ())]
    test = call("Equal", (flag, places.shape), *(sides[::-1] if turned else sides))
    whole = (COUNT, WIDTH)
    return [test, call("Where", (result, whole), (flag, places.shape), (row, (1, WIDTH)), (rows, whole))]


def run(block, memory):
    """Run instructions on arrays, by the value's identity."""

    def read(one):
        return one.array.reshape(-1) if isinstance(one, Constant) else memory[one]

    for one in block:
        match one:
            case Call():
                x = [read(x) for x in one.inputs]
                shapes = [port.shape for port in one.operator.inputs]
                x = [a.reshape(shape) for a, shape in zip(x, shapes, strict=True)]
                function = {"Equal": np.equal, "Where": np.where, "Add": np.add, "Identity": np.copy}
                memory[one.outputs[0]] = function[one.operator.kind](*x).reshape(-1).copy()
            case Copy():
                memory[one.to] = read(one.source).copy()
            case Put():
                rows, place = read(one.rows).copy(), int(read(one.place)[0])
                if 0 <= place < one.count:
                    rows.reshape(one.count, -1)[place] = read(one.row)
                memory[one.to] = rows
            case Section():
                run(one.body, memory)
            case Loop():
                for turn in range(int(read(one.most)[0])):
                    memory[one.iteration] = np.array([turn])
                    run(one.body, memory)
                    for pair in one.carried:
                        memory[pair.now], memory[pair.after] = memory[pair.after], memory[pair.now]


def solve(*, read_elsewhere=False, **changes):
    """A loop in a loop that puts rows into what both carry, and what they make."""
    start, now, after, inner_now, inner_after, taken, made, result, seen, out = map(
        value, ("start", "now", "after", "inner_now", "inner_after", "taken", "made", "result", "seen", "out")
    )
    turn, inner_turn, place = (value(name, 1, INT) for name in ("turn", "inner_turn", "place"))
    row, base = value("row", WIDTH), value("base", WIDTH)
    whole = (COUNT, WIDTH)
    inside = [
        call("Add", (place, ()), (turn, ()), (inner_turn, ())),
        call("Add", (row, (1, WIDTH)), (base, (1, WIDTH)), (base, (1, WIDTH))),
        *chosen(inner_now, row, place, made, **changes),
    ]
    body = [
        call("Identity", (base, (WIDTH,)), (Constant("ones", np.ones(WIDTH, REAL)), (WIDTH,))),
        Copy(now, inner_now),
        Loop(
            [Section("inside", inside), Copy(made, inner_after)],
            Constant("two", np.array(2)),
            None,
            None,
            inner_turn,
            [Carried(inner_now, inner_after)],
        ),
        Copy(inner_now, taken),
        *([call("Add", (seen, whole), (now, whole), (taken, whole))] if read_elsewhere else []),
        Copy(seen if read_elsewhere else taken, after),
    ]
    loop = Loop(body, Constant("turns", np.array(TURNS)), None, None, turn, [Carried(now, after)])
    program = [
        call("Identity", (start, whole), (Constant("zeros", np.zeros(whole, REAL)), whole)),
        Copy(start, now),
        loop,
        Copy(now, result),
        call("Add", (out, whole), (result, whole), (result, whole)),
    ]
    return program, out


def answer(program, out):
    memory = {}
    run(program, memory)
    return memory[out]


@pytest.mark.parametrize("turned", [False, True])
def test_rows_are_put_where_the_array_is(turned):
    program, out = solve(turned=turned)
    expected = answer(program, out)
    assert 0 < np.count_nonzero(expected) <= expected.size
    body, _ = simplified(solve(turned=turned)[0], [])
    assert body == []
    program, out = solve(turned=turned)
    body, _ = simplified(program, [out])
    assert np.array_equal(answer(body, out), expected)
    pairs = [pair for one in everything(body) if isinstance(one, Loop) for pair in one.carried]
    assert len(pairs) == 2 and all(pair.now is pair.after is pairs[0].now for pair in pairs)
    assert not [one for one in everything(body) if isinstance(one, Copy)]
    assert not [one for one in everything(body) if isinstance(one, Call) and one.operator.kind in ("Equal", "Where")]
    # The array is there once, with the row, and no second time.
    plan = planned(body, elsewhere=[out], kept=[])
    assert plan.arena < 2 * expected.nbytes


def test_an_array_that_a_turn_reads_otherwise_is_not_changed_in_its_place():
    program, out = solve(read_elsewhere=True)
    expected = answer(program, out)
    program, out = solve(read_elsewhere=True)
    body, _ = simplified(program, [out])
    assert np.array_equal(answer(body, out), expected)
    outer, inner = [one for one in everything(body) if isinstance(one, Loop)]
    assert outer.carried[0].now is not outer.carried[0].after
    assert inner.carried[0].now is inner.carried[0].after


@pytest.mark.parametrize(
    "places", [np.arange(COUNT)[::-1, None], np.arange(COUNT)[:, None] // 2, np.arange(1, COUNT + 1)[:, None]]
)
def test_a_choice_of_other_rows_stays(places):
    program, out = solve(places=places.copy())
    expected = answer(program, out)
    program, out = solve(places=places.copy())
    body, _ = simplified(program, [out])
    assert np.array_equal(answer(body, out), expected)
    assert not [one for one in everything(body) if isinstance(one, Put)]


@pytest.mark.parametrize("shape, put", [((1, 2, 3), True), ((2, 3), True), ((2, 1, 3), False), ((2, 2, 3), False)])
def test_a_row_has_all_axes_but_the_first(shape, put):
    whole = (2, 2, 3)
    rows, row, out = value("rows", 12), value("row", int(np.prod(shape))), value("out", 12)
    place, flag = value("place", 1, INT), Value("flag", np.dtype(np.bool_), 2)
    column = Constant("places", np.arange(2).reshape(2, 1, 1))
    body = [
        call("Equal", (flag, (2, 1, 1)), (column, (2, 1, 1)), (place, ())),
        call("Where", (out, whole), (flag, (2, 1, 1)), (row, shape), (rows, whole)),
    ]
    body, _ = simplified(body, [out])
    assert any(isinstance(one, Put) for one in body) == put
