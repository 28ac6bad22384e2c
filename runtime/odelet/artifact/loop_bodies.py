"""Whether the loops of a graph can be ended while they run.

ONNX Runtime looks at the options of a run before each node. A loop without a node in its body, or with constant nodes
alone, which are computed when the graph loads, may go on for ever where nothing can end it. The law here: no such loop
reaches ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator

from odelet.artifact.proto import ModelFacts
from odelet.artifact.wire import fields as wire_fields
from odelet.errors import ArtifactError

_NAMES = ("Loop", "Scan")
_LOOPS = tuple(name.encode() for name in _NAMES)
_WITH_BODIES = (*_LOOPS, b"If", b"SequenceMap")
# What these give is known when a graph loads, wherever the shape is.
_OF_SHAPES = (b"Shape", b"Size")


def check_loops(data: bytes, facts: ModelFacts, *, name: str) -> None:
    """Raise ArtifactError for a loop whose body computes nothing from what it is given. data: the bytes of a model.
    facts: what `scan` found in them. name: the file's name in messages."""
    if not any(operator in _NAMES for _, operator in facts.operators):
        return
    for number, start, stop in wire_fields(data, 0, len(data)):
        if stop < 0:
            continue
        if number == 7:  # graph
            _check_nodes(data, start, stop, 1, name)
        elif number == 25:  # functions
            _check_nodes(data, start, stop, 7, name)


def _check_nodes(data: bytes, at: int, end: int, node: int, name: str) -> None:
    """Check the loops of a graph or a function. node: the number of the field that holds a node."""
    for number, start, stop in wire_fields(data, at, end):
        if number != node or stop < 0:
            continue
        operator, attributes = b"", []
        for kind, begin, finish in wire_fields(data, start, stop):
            if kind == 4 and finish >= 0:
                operator = data[begin:finish]
            elif kind == 5 and finish >= 0:
                attributes.append((begin, finish))
        if operator not in _WITH_BODIES:
            continue
        for begin, finish in _graphs(data, attributes):
            if operator in _LOOPS and not _computes(data, begin, finish):
                raise ArtifactError(
                    f"{name}: the body of a {operator.decode()} computes nothing from its inputs, so nothing could end "
                    "it; export a model without such a loop"
                )
            _check_nodes(data, begin, finish, 1, name)


def _graphs(data: bytes, attributes: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for at, end in attributes:
        for number, start, stop in wire_fields(data, at, end):
            if number in (6, 11) and stop >= 0:  # g, graphs
                yield start, stop


def _computes(data: bytes, at: int, end: int) -> bool:
    """Whether a node of a body, from what the body is given, makes an output of the body."""
    nodes, ports = [], {11: set[bytes](), 12: set[bytes]()}
    for number, start, stop in wire_fields(data, at, end):
        if number == 1 and stop >= 0:
            nodes.append((start, stop))
        elif number in ports and stop >= 0:  # input, output
            ports[number] |= {data[a:b] for kind, a, b in wire_fields(data, start, stop) if kind == 1 and b >= 0}
    given, outputs = ports[11], ports[12]
    for start, stop in nodes:
        names: dict[int, list[bytes]] = {1: [], 2: [], 4: []}  # inputs, outputs, operator
        for kind, begin, finish in wire_fields(data, start, stop):
            if kind in names and finish >= 0:
                names[kind].append(data[begin:finish])
        if given.isdisjoint(names[1]) or names[4][-1:] in ([shape] for shape in _OF_SHAPES):
            continue
        if not outputs.isdisjoint(names[2]):
            return True
        given.update(names[2])
    return False
