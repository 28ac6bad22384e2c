"""Reads the attributes of nodes and the tensors of a file at their places: types, names and whole numbers.

The law here: of what a message says twice, what ONNX Runtime would take is returned, or nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from odelet.artifact.element_types import FLOAT, INT64
from odelet.artifact.nodes import Node, Place
from odelet.artifact.weights import DTYPES, Weights
from odelet.artifact.wire import fields, varint

NOWHERE = Place(0, 0)
_BFLOAT16 = 16  # numpy has no such type
_RAW = {
    kind: np.dtype(name).newbyteorder("<")
    for kind, name in DTYPES.items()
    if np.dtype(name).kind in "iu" and kind != _BFLOAT16
}


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A tensor that is the same in each run. kind: the type of its elements. numbers: all that it holds, as whole
    numbers; None for numbers of another kind. shape: None if it is not known."""

    kind: int
    numbers: tuple[int, ...] | None
    shape: tuple[int, ...] | None

    @property
    def single(self) -> int | None:
        """The number that all elements are; None where they differ, or are not known."""
        numbers = set(self.numbers or ())
        return numbers.pop() if len(numbers) == 1 else None


def attributes_of(data: bytes, node: Node) -> dict[bytes, Place]:
    """Return the attributes of a node; one that is there twice is nowhere."""
    found: dict[bytes, Place] = {}
    for place in node.attributes:
        names = [data[a:b] for number, a, b in fields(data, *place) if number == 1 and b >= 0]
        name = names[-1] if names else b""
        found[name] = NOWHERE if name in found else place
    return found


def numbers_of(data: bytes, attribute: Place) -> list[int]:
    """Return the whole numbers that an attribute holds: one, or a list."""
    return [*_numbers(data, attribute, 3)[-1:], *_numbers(data, attribute, 8)]


def tensor_of(data: bytes, attribute: Place) -> Place:
    """Return the place of the tensor that an attribute holds."""
    return next((Place(a, b) for number, a, b in fields(data, *attribute) if number == 5 and b >= 0), NOWHERE)


def tensor_name(data: bytes, tensor: Place) -> bytes:
    """Return the name of a tensor."""
    names = [data[a:b] for number, a, b in fields(data, *tensor) if number == 8 and b >= 0]
    return names[-1] if names else b""


def tensor_kind(data: bytes, tensor: Place) -> int:
    """Return the type of a tensor's elements; 0 where it says none."""
    kinds = [value for number, value, stop in fields(data, *tensor) if number == 2 and stop < 0]
    return kinds[-1] if kinds else 0


def constant_of(data: bytes, node: Node) -> Constant | None:
    """Return what a node Constant makes, or None where that is not known."""
    attributes = attributes_of(data, node)
    if len(attributes) != 1:
        return None
    name, place = next(iter(attributes.items()))
    if name == b"value":
        return stored_constant(data, tensor_of(data, place), {})
    if name in (b"value_float", b"value_floats"):
        return Constant(kind=FLOAT, numbers=None, shape=None)
    if name not in (b"value_int", b"value_ints"):
        return None
    numbers = tuple(numbers_of(data, place))
    return Constant(kind=INT64, numbers=numbers, shape=() if name == b"value_int" else (len(numbers),))


def stored_constant(data: bytes, tensor: Place, weights: Weights) -> Constant | None:
    """Return what a tensor holds, or None where that is not known. weights: those that lie in another file, by name."""
    kind, shape = tensor_kind(data, tensor), tuple(_numbers(data, tensor, 1))
    elsewhere = [start for number, start, stop in fields(data, *tensor) if number == 14 and stop < 0]
    if any(elsewhere):
        weight = weights.get(tensor_name(data, tensor).decode(errors="replace"))
        if weight is None:
            return None
        whole = tuple(weight.array.ravel().tolist()) if kind in _RAW else None
        return Constant(kind=weight.kind, numbers=whole, shape=weight.array.shape)
    if kind not in _RAW:
        return Constant(kind=kind, numbers=None, shape=shape)
    numbers: list[int] = []
    # A tensor has its numbers in one of these fields; all that is there is taken to be among them.
    for number, start, stop in fields(data, *tensor):
        if number == 9 and stop >= 0:  # raw_data
            numbers += np.frombuffer(data[start : stop - (stop - start) % _RAW[kind].itemsize], _RAW[kind]).tolist()
    for number in (5, 7, 11):  # int32_data, int64_data, uint64_data
        numbers += _numbers(data, tensor, number)
    return Constant(kind=kind, numbers=tuple(numbers), shape=shape) if len(numbers) == math.prod(shape) else None


def _signed(number: int) -> int:
    number %= 2**64
    return number - 2**64 if number >= 2**63 else number


def _numbers(data: bytes, place: Place, wanted: int) -> list[int]:
    """The whole numbers of a field of a message, packed or not."""
    numbers = []
    for number, start, stop in fields(data, *place):
        if number != wanted:
            continue
        if stop < 0:
            numbers.append(_signed(start))
            continue
        while start < stop:
            value, start = varint(data, start, stop)
            numbers.append(_signed(value))
    return numbers
