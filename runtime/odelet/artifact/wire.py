"""The wire format of protobuf: the fields of a message that lies somewhere in bytes, without a copy of any.

The law here: this module knows no ONNX; whatever the bytes are, the answer is fields or Malformed. The format is that
of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_TAG = 2**32 - 1


class Malformed(Exception):
    """The bytes are not a model; the message says where and why."""


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and the place of the byte after it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Malformed(f"bad number at byte {at}")


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, stop) of each length-delimited field, and (number, value, -1) of each varint."""
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag > _MAX_TAG:
            raise Malformed(f"bad field at byte {at}")
        if wire == _BYTES:
            size, at = varint(data, at, end)
            if size > end - at:
                raise Malformed(f"a field at byte {at} says {size} bytes, {end - at} are left")
            yield number, at, at + size
            at += size
        elif wire == _VARINT:
            value, at = varint(data, at, end)
            yield number, value, -1
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
            if at > end:
                raise Malformed(f"a field at byte {at} is cut short")
        else:
            # Groups are legal protobuf that ONNX has never used.
            raise Malformed(f"unknown field type {wire} at byte {at}")


def field_of(number: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return varint_of(number << 3 | _BYTES) + varint_of(len(content)) + content


def number_of(number: int, value: int) -> bytes:
    """Return a varint field. value: 0 or more."""
    return varint_of(number << 3 | _VARINT) + varint_of(value)


def varint_of(value: int) -> bytes:
    """Return a number, 0 or more, in its shortest form."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def text_at(data: bytes, start: int, stop: int) -> str:
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError:
        raise Malformed(f"text at byte {start} is not UTF-8") from None


def pair(data: bytes, at: int, end: int) -> tuple[str, str]:
    """Return the key and the value of a StringStringEntryProto."""
    key, value, _ = placed_pair(data, at, end)
    return key, value


def placed_pair(data: bytes, at: int, end: int) -> tuple[str, str, tuple[int, int]]:
    """Return the key, the value, and the place of the value of a StringStringEntryProto."""
    key = value = ""
    place = (end, end)
    for number, start, stop in fields(data, at, end):
        if stop >= 0 and number == 1:
            key = text_at(data, start, stop)
        elif stop >= 0 and number == 2:
            value, place = text_at(data, start, stop), (start, stop)
    return key, value, place
