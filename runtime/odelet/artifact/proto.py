"""Reads from the bytes of an ONNX file what must be known before ONNX Runtime sees them.

The law here: this module needs no onnx package and copies no weight; whatever the bytes are, the answer is facts or an
ArtifactError. Field numbers are those of onnx/onnx.proto; the wire format is that of
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from odelet.errors import ArtifactError

# ONNX Runtime allows 32 levels of subgraphs as well.
MAX_DEPTH = 32

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_TAG = 2**32 - 1
_STRING = 8  # among the types of elements, TensorProto.DataType


@dataclass
class ModelFacts:
    """What a model file needs of the program that runs it.

    operators: each operator that a node uses, in subgraphs and functions too, after its domain. opsets: version by
    domain. external: locations of tensors that are kept in other files. metadata: the model's own key-value pairs.
    texts: the length of the longest text, by the operator and the attribute that holds it. extras: what a model of
    numbers does without, in words that follow "it has", such as a tensor of strings; with the name of one such thing.
    """

    operators: set[tuple[str, str]] = field(default_factory=set)
    opsets: dict[str, int] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)
    texts: dict[tuple[str, str], int] = field(default_factory=dict)
    extras: dict[str, str] = field(default_factory=dict)


class _Malformed(Exception):
    """The bytes are not a model; the message says where and why."""


def scan(data: bytes, *, name: str) -> ModelFacts:
    """Return the facts of a model file that is given as bytes. name: the file's name in messages.

    Raises ArtifactError when the bytes are not an ONNX model, or when subgraphs nest too deep.
    """
    facts = ModelFacts()
    try:
        _scan_model(data, facts)
    except _Malformed as error:
        raise ArtifactError(
            f"{name} is not a readable ONNX file ({error}); it may be truncated or damaged: copy it again"
        ) from None
    return facts


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and the place of the byte after it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Malformed(f"bad number at byte {at}")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, stop) of each length-delimited field, and (number, value, -1) of each varint."""
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag > _MAX_TAG:
            raise _Malformed(f"bad field at byte {at}")
        if wire == _BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise _Malformed(f"a field at byte {at} says {size} bytes, {end - at} are left")
            yield number, at, at + size
            at += size
        elif wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, value, -1
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
            if at > end:
                raise _Malformed(f"a field at byte {at} is cut short")
        else:
            # Groups are legal protobuf that ONNX has never used.
            raise _Malformed(f"unknown field type {wire} at byte {at}")


def _text(data: bytes, start: int, stop: int) -> str:
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError:
        raise _Malformed(f"text at byte {start} is not UTF-8") from None


def _pair(data: bytes, at: int, end: int) -> tuple[str, str]:
    """Return the key and the value of a StringStringEntryProto."""
    key = value = ""
    for number, start, stop in _fields(data, at, end):
        if stop >= 0 and number == 1:
            key = _text(data, start, stop)
        elif stop >= 0 and number == 2:
            value = _text(data, start, stop)
    return key, value


def _scan_model(data: bytes, facts: ModelFacts) -> None:
    graphs = 0
    for number, start, stop in _fields(data, 0, len(data)):
        if stop < 0:
            continue
        if number == 7:  # graph
            graphs += 1
            _scan_graph(data, start, stop, facts, 0)
        elif number == 8:  # opset_import
            _scan_opset(data, start, stop, facts)
        elif number == 14:  # metadata_props
            key, value = _pair(data, start, stop)
            if key in facts.metadata:
                raise _Malformed(f"metadata key {key[:40]!r} is there twice")
            facts.metadata[key] = value
        elif number == 20:  # training_info, which the runtime does not run and nevertheless checks
            facts.extras["a graph for training"] = "training_info"
            for inner, begin, finish in _fields(data, start, stop):
                if finish >= 0 and inner in (1, 2):
                    _scan_graph(data, begin, finish, facts, 0)
        elif number == 25:  # functions
            _scan_function(data, start, stop, facts)
    if graphs == 0:
        raise _Malformed("it holds no graph")


def _scan_opset(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    domain, version = "", 0
    for number, start, stop in _fields(data, at, end):
        if number == 1 and stop >= 0:
            domain = _text(data, start, stop)
        elif number == 2 and stop < 0:
            version = start
    facts.opsets[domain] = version


def _scan_function(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    facts.extras["a function of its own"] = ""
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            continue
        if number == 1:
            facts.extras["a function of its own"] = _text(data, start, stop)
        elif number == 7:  # node
            _scan_node(data, start, stop, facts, 0)
        elif number == 9:  # opset_import
            _scan_opset(data, start, stop, facts)
        elif number == 11:  # attribute_proto: defaults
            _scan_attribute(data, start, stop, facts, 0)


def _scan_graph(data: bytes, at: int, end: int, facts: ModelFacts, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Malformed(f"subgraphs nest deeper than {MAX_DEPTH}")
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            continue
        if number == 1:  # node
            _scan_node(data, start, stop, facts, depth)
        elif number == 5:  # initializer
            _scan_tensor(data, start, stop, facts)
        elif number in (11, 12):  # input, output
            _scan_port(data, start, stop, facts)
        elif number == 15:  # sparse_initializer
            _scan_sparse(data, start, stop, facts)


def _scan_port(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    """Look for a type of an input or output that is not a tensor of numbers."""
    name, of_strings, other = "", False, False
    for number, start, stop in _fields(data, at, end):
        if number == 1 and stop >= 0:
            name = _text(data, start, stop)
        elif number == 2 and stop >= 0:  # type
            for kind, begin, finish in _fields(data, start, stop):
                if kind == 1 and finish >= 0:  # tensor_type
                    of_strings = of_strings or (1, _STRING, -1) in _fields(data, begin, finish)
                elif kind != 6:  # denotation
                    other = True
    if of_strings:
        facts.extras["an input or output of strings"] = name
    if other:
        facts.extras["an input or output that is no tensor"] = name


def _scan_node(data: bytes, at: int, end: int, facts: ModelFacts, depth: int) -> None:
    domain = operator = ""
    texts: list[tuple[str, int]] = []
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            continue
        if number == 4:
            operator = _text(data, start, stop)
        elif number == 5:
            texts += _scan_attribute(data, start, stop, facts, depth)
        elif number == 7:
            domain = _text(data, start, stop)
    facts.operators.add((domain, operator))
    for attribute, size in texts:
        facts.texts[operator, attribute] = max(size, facts.texts.get((operator, attribute), 0))


def _scan_attribute(data: bytes, at: int, end: int, facts: ModelFacts, depth: int) -> list[tuple[str, int]]:
    """Scan what an attribute holds. Returns the attribute's name and the length of its text if it holds text."""
    name, size, strings = b"", -1, False
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            strings = strings or (number == 3 and start == _STRING)  # i
        elif number == 1:
            name = data[start:stop]
        elif number in (4, 9):  # s, strings
            size = max(size, 0) + stop - start
        elif number in (5, 10):  # t, tensors
            _scan_tensor(data, start, stop, facts)
        elif number in (6, 11):  # g, graphs
            _scan_graph(data, start, stop, facts, depth + 1)
        elif number in (14, 15):  # tp, type_protos
            facts.extras["a type as an attribute"] = _text(name, 0, len(name))
        elif number in (22, 23):  # sparse_tensor, sparse_tensors
            _scan_sparse(data, start, stop, facts)
    if strings and name == b"to":
        facts.extras["a cast to strings"] = "Cast"
    if size < 0:
        return []
    if name.startswith(b"value_string"):  # of Constant
        facts.extras["a tensor of strings"] = "Constant"
    return [(_text(name, 0, len(name)), size)]


def _scan_sparse(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    facts.extras["a sparse tensor"] = ""
    for number, start, stop in _fields(data, at, end):
        if number in (1, 2) and stop >= 0:  # values, indices
            _scan_tensor(data, start, stop, facts)


def _scan_tensor(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    external = located = False
    for number, start, stop in _fields(data, at, end):
        if number == 14 and stop < 0:  # data_location, 1 is EXTERNAL
            external = external or start == 1
        elif number == 2 and start == _STRING and stop < 0:  # data_type
            facts.extras["a tensor of strings"] = ""
        elif number == 13 and stop >= 0:  # external_data
            key, value = _pair(data, start, stop)
            if key == "location":
                located = True
                facts.external.add(value)
    if external and not located:
        raise _Malformed("a tensor is said to be in another file that is not named")
