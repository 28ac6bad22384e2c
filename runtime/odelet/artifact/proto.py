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


@dataclass(frozen=True, kw_only=True)
class ExternalTensor:
    """A tensor whose numbers lie in another file.

    kind: its type, as a number of onnx.proto. location: the file. offset: of its first byte. length: its size in bytes,
    None where the tensor does not say it.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    location: str
    offset: int = 0
    length: int | None = None


@dataclass
class ModelFacts:
    """What a model file needs of the program that runs it.

    domains: each operator domain that a node uses, with one operator of that domain. opsets: version by domain.
    external: locations of tensors that are kept in other files. weights: those of the tensors that are initializers of
    the model's graph itself. elsewhere: locations of the others, which lie in subgraphs and attributes. metadata: the
    model's own key-value pairs. places: where, in the bytes, each value of the metadata lies.
    """

    domains: dict[str, str] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)
    weights: list[ExternalTensor] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


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
    key, value, _ = _placed_pair(data, at, end)
    return key, value


def _placed_pair(data: bytes, at: int, end: int) -> tuple[str, str, tuple[int, int]]:
    """Return the key, the value, and the place of the value of a StringStringEntryProto."""
    key = value = ""
    place = (end, end)
    for number, start, stop in _fields(data, at, end):
        if stop >= 0 and number == 1:
            key = _text(data, start, stop)
        elif stop >= 0 and number == 2:
            value, place = _text(data, start, stop), (start, stop)
    return key, value, place


def _scan_model(data: bytes, facts: ModelFacts) -> None:
    graphs = 0
    for number, start, stop in _fields(data, 0, len(data)):
        if stop < 0:
            continue
        if number == 7:  # graph
            graphs += 1
            _scan_graph(data, start, stop, facts, 0, whole=True)
        elif number == 8:  # opset_import
            _scan_opset(data, start, stop, facts)
        elif number == 14:  # metadata_props
            key, value, place = _placed_pair(data, start, stop)
            if key in facts.metadata:
                raise _Malformed(f"metadata key {key[:40]!r} is there twice")
            facts.metadata[key], facts.places[key] = value, place
        elif number == 20:  # training_info, which the runtime does not run and nevertheless checks
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
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            continue
        if number == 7:  # node
            _scan_node(data, start, stop, facts, 0)
        elif number == 9:  # opset_import
            _scan_opset(data, start, stop, facts)
        elif number == 11:  # attribute_proto: defaults
            _scan_attribute(data, start, stop, facts, 0)


def _scan_graph(data: bytes, at: int, end: int, facts: ModelFacts, depth: int, *, whole: bool = False) -> None:
    """Add the facts of a graph. whole: whether it is the model's own, and not a subgraph."""
    if depth > MAX_DEPTH:
        raise _Malformed(f"subgraphs nest deeper than {MAX_DEPTH}")
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            continue
        if number == 1:  # node
            _scan_node(data, start, stop, facts, depth)
        elif number == 5:  # initializer
            _scan_tensor(data, start, stop, facts, initializer=whole)
        elif number == 15:  # sparse_initializer
            _scan_sparse(data, start, stop, facts)


def _scan_node(data: bytes, at: int, end: int, facts: ModelFacts, depth: int) -> None:
    domain = operator = ""
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            continue
        if number == 4:
            operator = _text(data, start, stop)
        elif number == 5:
            _scan_attribute(data, start, stop, facts, depth)
        elif number == 7:
            domain = _text(data, start, stop)
    facts.domains.setdefault(domain, operator)


def _scan_attribute(data: bytes, at: int, end: int, facts: ModelFacts, depth: int) -> None:
    for number, start, stop in _fields(data, at, end):
        if stop < 0:
            continue
        if number in (5, 10):  # t, tensors
            _scan_tensor(data, start, stop, facts)
        elif number in (6, 11):  # g, graphs
            _scan_graph(data, start, stop, facts, depth + 1)
        elif number in (22, 23):  # sparse_tensor, sparse_tensors
            _scan_sparse(data, start, stop, facts)


def _scan_sparse(data: bytes, at: int, end: int, facts: ModelFacts) -> None:
    for number, start, stop in _fields(data, at, end):
        if number in (1, 2) and stop >= 0:  # values, indices
            _scan_tensor(data, start, stop, facts)


def _scan_tensor(data: bytes, at: int, end: int, facts: ModelFacts, *, initializer: bool = False) -> None:
    """Add the facts of a tensor. initializer: whether it is one of the model's own graph."""
    external, where, locations = False, dict[str, str](), set[str]()
    for number, start, stop in _fields(data, at, end):
        if number == 14 and stop < 0:  # data_location, 1 is EXTERNAL
            external = external or start == 1
        elif number == 13 and stop >= 0:  # external_data
            key, value = _pair(data, start, stop)
            where[key] = value
            if key == "location":
                locations.add(value)
    if external and not locations:
        raise _Malformed("a tensor is said to be in another file that is not named")
    facts.external |= locations
    if external and initializer and len(locations) == 1:
        facts.weights.append(_external_tensor(data, at, end, where))
    else:
        facts.elsewhere |= locations


def _external_tensor(data: bytes, at: int, end: int, where: dict[str, str]) -> ExternalTensor:
    """The tensor whose numbers lie at a place. where: its keys of the place, with their values."""
    name, kind = "", 0
    shape: list[int] = []
    for number, start, stop in _fields(data, at, end):
        if number == 1 and stop < 0:  # dims
            shape.append(start)
        elif number == 1:  # dims, packed
            while start < stop:
                size, start = _varint(data, start, stop)
                shape.append(size)
        elif number == 2 and stop < 0:  # data_type
            kind = start
        elif number == 8 and stop >= 0:
            name = _text(data, start, stop)
    numbers = {key: where[key] for key in ("offset", "length") if key in where}
    for key, text in numbers.items():
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise _Malformed(f"the {key} of the tensor {name[:40]!r} in another file is {text[:40]!r}")
    return ExternalTensor(
        name=name,
        kind=kind,
        shape=tuple(shape),
        location=where["location"],
        offset=int(numbers.get("offset", 0)),
        length=int(numbers["length"]) if "length" in numbers else None,
    )
