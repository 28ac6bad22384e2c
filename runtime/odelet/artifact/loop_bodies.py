"""Whether the loops of a graph can be ended while they run.

ONNX Runtime looks at the options of a run before each node. A loop without a node in its body, or with constant nodes
alone, which are computed when the graph loads, may go on for ever where nothing can end it. The law here: no such loop
reaches ONNX Runtime.
"""

from __future__ import annotations

from odelet.artifact.proto import ModelFacts
from odelet.artifact.wire import fields as wire_fields
from odelet.errors import ArtifactError

# What these give is known when a graph loads, wherever the shape is.
_OF_SHAPES = (b"Shape", b"Size")


def check_loops(data: bytes, facts: ModelFacts, *, name: str) -> None:
    """Raise ArtifactError for a loop whose body computes nothing from what it is given. data: the bytes of a model.
    facts: what `scan` found in them. name: the file's name in messages."""
    for loop in facts.loops:
        for _, (_, start, stop) in loop.bodies:
            if not _computes(data, start, stop):
                raise ArtifactError(
                    f"{name}: the body of a {loop.operator} computes nothing from its inputs, so nothing could end "
                    "it; export a model without such a loop"
                )


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
