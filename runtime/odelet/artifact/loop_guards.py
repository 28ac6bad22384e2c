"""Loops whose condition may be no single number, made to fail where ONNX Runtime would end the process.

ONNX Runtime takes the first number of what the body of a Loop gives as its condition, and does not look whether there
is one; the shape that a graph states for it may be wrong. The law here: each body gets a last node that reshapes the
condition to a single number, which fails for any other count of numbers, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from odelet.artifact.proto import ModelFacts
from odelet.artifact.wire import field_of, fields, number_of, placed_fields

_BOOL, _INT64 = 9, 7  # among the types of elements, TensorProto.DataType

# Rewrites the content of a field that lies between two places; None leaves it as it is.
_Rewrite = Callable[[int, int], bytes | None]


def guarded(data: bytes, facts: ModelFacts) -> bytes:
    """Return a model whose loops have guarded conditions. data: its bytes. facts: what `scan` found in them."""
    if not any(operator == "Loop" for _, operator in facts.operators):
        return data
    return _Guards(data).model() or data


class _Guards:
    """Rewrites one model."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._numbers = count()

    def model(self) -> bytes | None:
        return self._rewritten(0, len(self._data), {7: self._graph})

    def _rewritten(self, at: int, end: int, rewrites: Mapping[int, _Rewrite], *, last: bytes = b"") -> bytes | None:
        """The message between two places, with the fields of these numbers rewritten; None where nothing changes. last:
        fields that are added."""
        parts, done = [], at
        for number, begin, start, stop in placed_fields(self._data, at, end):
            content = rewrites[number](start, stop) if number in rewrites else None
            if content is not None:
                parts += [self._data[done:begin], field_of(number, content)]
                done = stop
        return b"".join([*parts, self._data[done:end], last]) if parts or last else None

    def _graph(self, at: int, end: int) -> bytes | None:
        return self._rewritten(at, end, {1: self._node})

    def _node(self, at: int, end: int) -> bytes | None:
        data, inside = self._data, {6: self._graph, 11: self._graph}  # g, graphs
        operators = [data[start:stop] for number, start, stop in fields(data, at, end) if number == 4 and stop >= 0]
        if operators[-1:] == [b"Loop"]:
            inside = dict.fromkeys(inside, self._body)
        return self._rewritten(at, end, {5: lambda start, stop: self._rewritten(start, stop, inside)})

    def _body(self, at: int, end: int) -> bytes | None:
        """The body of a Loop, of which the first output is the condition."""
        data = self._data
        outputs = [(start, stop) for number, start, stop in fields(data, at, end) if number == 12 and stop >= 0]
        if not outputs:
            return self._graph(at, end)  # ONNX Runtime refuses it
        first = outputs[0]
        names = [data[start:stop] for number, start, stop in fields(data, *first) if number == 1 and stop >= 0]
        me = b"odelet.loop_%d" % next(self._numbers)
        shape, result = me + b".shape", me + b".go"
        kind = field_of(2, field_of(1, number_of(1, _BOOL)))
        reshape = (*(field_of(1, name) for name in (names[-1] if names else b"", shape)), field_of(2, result))
        nodes = field_of(1, b"".join([*reshape, field_of(4, b"Reshape")]))
        no_axes = field_of(5, number_of(1, 0) + number_of(2, _INT64) + field_of(8, shape))
        return self._rewritten(
            at,
            end,
            {1: self._node, 12: lambda *place: field_of(1, result) + kind if place == first else None},
            last=nodes + no_axes,
        )
