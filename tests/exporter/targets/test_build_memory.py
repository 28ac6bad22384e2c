"""The plan of memory: values that are needed at the same time never overlap, also where loops bring them back."""

import numpy as np
import pytest

from odelet_export.targets.build.instructions import (
    Call,
    Carried,
    Choice,
    Constant,
    Copy,
    Loop,
    Row,
    Section,
    Value,
    everything,
)
from odelet_export.targets.build.memory import planned
from odelet_export.targets.build.operators import Operator, Port
from odelet_export.targets.build.simplify import simplified

OPERATOR = Operator(b"", (), (), ())


def value(name, size=4):
    return Value(name, np.dtype(np.float32), size)


def made(result, *inputs):
    """A call that makes a value from others."""
    return Call(OPERATOR, list(inputs), [result], (Port(result.dtype, (result.size,)),))


def overlap(plan, first, second):
    a, b = plan.offsets[first], plan.offsets[second]
    return a < b + second.nbytes and b < a + first.nbytes


def test_a_chain_takes_the_memory_of_two_values():
    x, *links = (value(f"v{number}", 64) for number in range(10))
    chain = [made(after, before) for before, after in zip([x, *links], links, strict=False)]
    plan = planned(chain, elsewhere=[x], kept=[links[-1]])
    assert (plan.arena, plan.live) == (2 * 256, 2 * 256)


@pytest.mark.parametrize("seed", range(20))
def test_values_that_are_needed_together_do_not_overlap(seed):
    rng = np.random.default_rng(seed)
    values, body, last = [value("x", 8)], [], {}
    for number in range(40):
        inputs = [values[i] for i in rng.integers(0, len(values), 2)]
        values.append(value(f"v{number}", int(rng.integers(1, 50))))
        body.append(made(values[-1], *inputs))
    for number, call in enumerate(body):
        for one in call.inputs:
            last[one] = number
    plan = planned(body, elsewhere=values[:1], kept=values[-1:])
    last[values[-1]] = len(body)
    for number, one in enumerate(values[1:]):
        for other_number, other in enumerate(values[1 : number + 1]):
            if last.get(other, other_number) >= number:
                assert not overlap(plan, one, other)
    assert plan.live <= plan.arena <= 2 * plan.live


def loop_of(body, *carried, again=None, rows=()):
    limit = Constant("limit", np.array(3))
    return Loop(body, limit, None, again, None, list(carried), list(rows))


def test_what_a_loop_needs_again_keeps_its_place():
    outside, start, now, after, inside, result = map(value, ("outside", "start", "now", "after", "inside", "result"))
    loop = loop_of([made(inside, now, outside), made(after, inside)], Carried(now, after))
    program = [made(outside), made(start), Copy(start, now), loop, Copy(now, result)]
    body, replaced = simplified(program, [result])
    plan = planned(body, elsewhere=[], kept=[replaced.stored(result)])
    for one, other in ((outside, now), (outside, after), (outside, inside), (now, after), (inside, after)):
        assert not overlap(plan, one, other)
    # The start is made where the loop reads it.
    copies = [one for one in everything(body) if isinstance(one, Copy)]
    assert [(one.source, one.to) for one in copies] == [(now, result)]


def test_a_start_that_others_read_is_copied():
    start, now, after, result, other = map(value, ("start", "now", "after", "result", "other"))
    loop = loop_of([made(after, now)], Carried(now, after))
    program = [made(start), Copy(start, now), loop, Copy(now, result), made(other, start, result)]
    body, _ = simplified(program, [other])
    assert (start, now) in [(one.source, one.to) for one in everything(body) if isinstance(one, Copy)]


def test_values_of_a_loop_in_a_loop_do_not_take_the_places_of_values_that_turn():
    # After an odd number of inner turns, the inner value lies in the place of its twin.
    x, now, after, inner_now, inner_after, between, result = map(
        value, ("x", "now", "after", "inner_now", "inner_after", "between", "result")
    )
    inner = loop_of([made(inner_after, inner_now)], Carried(inner_now, inner_after))
    body = [made(inner_now, now), made(between, now), inner, made(after, inner_now, between)]
    program = [Copy(x, now), loop_of(body, Carried(now, after)), Copy(now, result)]
    plan = planned(program, elsewhere=[x], kept=[result])
    for one in (inner_now, inner_after):
        for other in (between, now, after):
            assert not overlap(plan, one, other)


def test_rows_are_kept_for_all_turns():
    x, now, after, row, made_row, other = map(value, ("x", "now", "after", "row", "made", "other"))
    stack = value("stack", 12)
    loop = loop_of(
        [made(after, now), made(made_row, after), Copy(made_row, row)], Carried(now, after), rows=[Row(row, stack)]
    )
    body, _ = simplified([Copy(x, now), loop, made(other, stack)], [other])
    # The row is made in its place.
    assert not [one for one in everything(body) if isinstance(one, Copy) and one.to is row]
    plan = planned(body, elsewhere=[x, row], kept=[other])
    assert not overlap(plan, stack, now) and not overlap(plan, stack, after)


def test_what_no_one_needs_is_left_out():
    x, used, unused, now, after = map(value, ("x", "used", "unused", "now", "after"))
    loop = loop_of([made(after, now)], Carried(now, after))
    program = [Section("graph", [made(used, x), made(unused, x), Copy(x, now)]), loop]
    body, _ = simplified(program, [used])
    assert [one.outputs for one in everything(body) if isinstance(one, Call)] == [[used]]
    assert not any(isinstance(one, Loop) for one in everything(body))


def test_branches_make_their_results_in_place_and_share_memory():
    x, flag, a, b, result, out = map(value, ("x", "flag", "a", "b", "result", "out"))
    choice = Choice(flag, [made(a, x), Copy(a, result)], [made(b, x), Copy(b, result)])
    body, _ = simplified([made(flag, x), choice, Copy(result, out)], [out])
    assert [one.outputs for one in everything(body) if isinstance(one, Call)] == [[flag], [out], [out]]
    assert not any(isinstance(one, Copy) for one in everything(body))
