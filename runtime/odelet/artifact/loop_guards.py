"""Loops whose condition may be no single number, made to fail where ONNX Runtime would end the process.

ONNX Runtime takes the first number of what the body of a Loop gives as its condition, and does not look whether there
is one; the shape that a graph states for it may be wrong. The law here: each body gets a last node that reshapes the
condition to a single number, which fails for any other count of numbers, and nothing else changes.
"""

from __future__ import annotations

from itertools import count

from odelet.artifact.proto import ModelFacts, Place
from odelet.artifact.wire import Malformed, field_of, fields, number_of, varint_of
from odelet.errors import ArtifactError

_BOOL, _INT64 = 9, 7  # among the types of elements, TensorProto.DataType

# What bytes from one place to another become.
_Edit = tuple[int, int, bytes]


def guarded(data: bytes, facts: ModelFacts, *, name: str) -> bytes:
    """Return a model whose loops have guarded conditions.

    data: its bytes. facts: what `scan` found in them. name: the file's name in messages. Raises ArtifactError for bytes
    that no program writes.
    """
    edits: list[_Edit] = []
    around: set[Place] = set()
    numbers = count()
    try:
        for loop in facts.loops:
            for attribute, body in loop.bodies if loop.operator == "Loop" else ():
                edits += _guard(data, body, b"odelet.loop_%d" % next(numbers))
                around |= {*loop.path, attribute, body}
        # A message holds the lengths of those inside it, and is longer than they are.
        for place in sorted(around, key=lambda place: place[2] - place[1]):
            edits.append(_lengthened(data, place, edits))
    except Malformed as error:
        raise ArtifactError(f"{name} is not a readable ONNX file ({error}); export it again") from None
    return _edited(data, edits) if edits else data


def _guard(data: bytes, body: Place, me: bytes) -> list[_Edit]:
    """The edits that guard the condition of a body, its first output. me: begins the names of what is new."""
    _, at, end = body
    end_before = at
    for number, start, stop in fields(data, at, end):
        if number == 12 and stop >= 0:
            first = start
            break
        end_before = stop
    else:
        raise Malformed(f"the body of a Loop at byte {at} has no outputs")
    names = [data[a:b] for kind, a, b in fields(data, first, stop) if kind == 1 and b >= 0]
    if end_before < 0 or not names:
        raise Malformed(f"the condition of a Loop at byte {first} has no name, or follows a number")
    shape, result = me + b".shape", me + b".go"
    reshape = (field_of(1, names[-1]), field_of(1, shape), field_of(2, result), field_of(4, b"Reshape"))
    no_axes = number_of(1, 0) + number_of(2, _INT64) + field_of(8, shape)
    boolean = field_of(2, field_of(1, number_of(1, _BOOL)))
    return [
        (end_before, stop, field_of(12, field_of(1, result) + boolean)),
        (end, end, field_of(1, b"".join(reshape)) + field_of(5, no_axes)),
    ]


def _lengthened(data: bytes, place: Place, edits: list[_Edit]) -> _Edit:
    """The edit of the length of a message. edits: all that are inside it."""
    _, start, stop = place
    growth = sum(len(new) - (until - at) for at, until, new in edits if start <= at and until <= stop)
    old = varint_of(stop - start)
    if data[start - len(old) : start] != old:
        raise Malformed(f"the length before byte {start} is not in its shortest form")
    return start - len(old), start, varint_of(stop - start + growth)


def _edited(data: bytes, edits: list[_Edit]) -> bytes:
    view, parts, done = memoryview(data), list[bytes | memoryview](), 0
    # What is added at one place stays in order: to an inner body first.
    for at, until, new in sorted(edits, key=lambda edit: edit[0]):
        parts += [view[done:at], new]
        done = until
    return b"".join([*parts, view[done:]])
