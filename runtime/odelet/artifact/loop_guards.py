"""Loops whose condition may be no single number, made to fail where ONNX Runtime would end the process.

ONNX Runtime takes the first number of the condition that a Loop is given, and of the one that its body gives, and does
not look whether there is one; the shape that a graph states for it may be wrong. The law here: a node reshapes each of
the two to a single number, which fails for any other count of numbers, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from odelet.artifact.nodes import Graph
from odelet.artifact.proto import ModelFacts
from odelet.artifact.wire import Malformed, field_of, fields, number_of, varint_of
from odelet.errors import ArtifactError

_BOOL, _INT64 = 9, 7  # among the types of elements, TensorProto.DataType
_TENSOR = 4  # among the types of attributes, AttributeProto.AttributeType

# The number of a field, and where its content begins and ends. A path leads from the model to what is inside it.
_Place = tuple[int, int, int]
_Path = tuple[_Place, ...]
# What bytes from one place to another become.
_Edit = tuple[int, int, bytes]


def guarded(data: bytes, facts: ModelFacts, *, name: str) -> bytes:
    """Return a model whose loops have guarded conditions.

    data: its bytes. facts: what `scan` found in them. name: the file's name in messages. Raises ArtifactError for bytes
    that no program writes.
    """
    if ("", "Loop") not in facts.operators and ("ai.onnx", "Loop") not in facts.operators:
        return data
    edits: list[_Edit] = []
    around: set[_Place] = set()
    numbers = count()
    try:
        wholes = [place for place in fields(data, 0, len(data)) if place[0] == 7 and place[2] >= 0]
        for path, bodies in _loops(data, facts.graph, wholes[-1:]):
            edits += _guard_start(data, path[-1], b"odelet.start_%d" % next(numbers))
            around |= {*path}
            for attribute, body in bodies:
                edits += _guard_body(data, body, b"odelet.loop_%d" % next(numbers))
                around |= {attribute, body}
        # A message holds the lengths of those inside it, and is longer than they are.
        for place in sorted(around, key=lambda place: place[2] - place[1]):
            edits.append(_lengthened(data, place, edits))
    except Malformed as error:
        raise ArtifactError(f"{name} is not a readable ONNX file ({error}); export it again") from None
    return _edited(data, edits) if edits else data


def _loops(data: bytes, graph: Graph, path: Sequence[_Place]) -> Iterator[tuple[_Path, list[tuple[_Place, _Place]]]]:
    """Yield the path to each Loop, inner ones first, and the places of its attributes with a body and of the bodies."""
    _, at, end = path[-1]
    places = (place for place in fields(data, at, end) if place[0] == 1 and place[2] >= 0)
    for node, place in zip(graph.nodes, places, strict=True):
        if not node.bodies:
            continue
        found = [
            ((5, *attribute), body)
            for attribute in node.attributes
            for body in fields(data, *attribute)
            if body[0] in (6, 11) and body[2] >= 0  # g, graphs
        ]
        for (attribute, body), (_, inner) in zip(found, node.bodies, strict=True):
            yield from _loops(data, inner, (*path, place, attribute, body))
        if node.operator == "Loop":
            yield (*path, place), found


def _guard_start(data: bytes, node: _Place, me: bytes) -> list[_Edit]:
    """The edits that guard the condition that a Loop is given, its second input, if it is given one. me: the name of
    what is new."""
    _, at, end = node
    inputs = [(start, stop) for number, start, stop in fields(data, at, end) if number == 1 and stop >= 0]
    if len(inputs) < 2 or inputs[1][0] == inputs[1][1]:
        return []
    start, stop = inputs[1]
    tag = _length_at(data, at, end) - 1  # of a node, one byte
    return [
        (_length_at(data, start, stop), stop, varint_of(len(me)) + me),
        (tag, tag + 1, _reshaped(data[start:stop], me) + data[tag : tag + 1]),
    ]


def _guard_body(data: bytes, body: _Place, me: bytes) -> list[_Edit]:
    """The edits that guard the condition of a body, its first output. me: the name of what is new."""
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
    boolean = field_of(2, field_of(1, number_of(1, _BOOL)))
    return [(end_before, stop, field_of(12, field_of(1, me) + boolean)), (end, end, _reshaped(names[-1], me))]


def _reshaped(name: bytes, result: bytes) -> bytes:
    """The nodes of a graph that reshape a value to a single number."""
    shape = result + b".shape"
    no_axes = field_of(5, number_of(1, 0) + number_of(2, _INT64))
    value = field_of(5, field_of(1, b"value") + no_axes + number_of(20, _TENSOR))
    constant = field_of(2, shape) + field_of(4, b"Constant") + value
    reshape = field_of(1, name) + field_of(1, shape) + field_of(2, result) + field_of(4, b"Reshape")
    return field_of(1, constant) + field_of(1, reshape)


def _length_at(data: bytes, start: int, stop: int) -> int:
    """The place of the length of a message or text."""
    length = varint_of(stop - start)
    if data[start - len(length) : start] != length:
        raise Malformed(f"the length before byte {start} is not in its shortest form")
    return start - len(length)


def _lengthened(data: bytes, place: _Place, edits: list[_Edit]) -> _Edit:
    """The edit of the length of a message. edits: all that are inside it."""
    _, start, stop = place
    growth = sum(len(new) - (until - at) for at, until, new in edits if start <= at and until <= stop)
    return _length_at(data, start, stop), start, varint_of(stop - start + growth)


def _edited(data: bytes, edits: list[_Edit]) -> bytes:
    view, parts, done = memoryview(data), list[bytes | memoryview](), 0
    # What is added at one place stays in order: to an inner body first.
    for at, until, new in sorted(edits, key=lambda edit: edit[0]):
        parts += [view[done:at], new]
        done = until
    return b"".join([*parts, view[done:]])
