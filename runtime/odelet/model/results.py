"""Puts the outputs of a call into the structure in which the model returns them in torch.

The law here: the classes of named tuples and dataclasses are made once, at load, from names that the card has checked.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import make_dataclass
from typing import Any, TypeAlias

from odelet.artifact.call_card import ResultCard
from odelet.artifact.card import Card
from odelet.numerics.backend import NumpyArray

# What a call returns: an array, or a container of arrays, numbers and other values.
Result: TypeAlias = Any
Outputs: TypeAlias = Mapping[str, NumpyArray]
_Builder: TypeAlias = Callable[[Outputs], Result]


def result_builder(card: Card) -> _Builder:
    """Return the function that makes the result of a call of its outputs by name.

    Without a structure in the card, as in cards of 0.1, the result is the only output, or a tuple of all.
    """
    if card.call is not None:
        return _builder(card.call.result)
    names = [tensor.name for tensor in card.outputs]
    if len(names) == 1:
        (name,) = names
        return lambda outputs: outputs[name]
    return lambda outputs: tuple([outputs[name] for name in names])


def _builder(result: ResultCard) -> _Builder:
    if result.kind == "output":
        return lambda outputs: outputs[result.output]
    if result.kind == "number":
        return lambda outputs: outputs[result.output].reshape(()).item()
    if result.kind in ("fixed", "absent"):
        return lambda outputs: result.value
    parts = [_builder(part) for part in result.parts]
    container = _container(result)
    return lambda outputs: container([part(outputs) for part in parts])


def _container(result: ResultCard) -> Callable[[list[Result]], Result]:
    """The function that makes a container of its parts."""
    keys = result.keys
    fields = [str(key) for key in keys]
    if result.kind == "dict":
        return lambda parts: dict(zip(keys, parts, strict=True))
    if result.kind == "named tuple":
        make: Any = namedtuple(result.name, fields)  # type: ignore[misc]  # the names are known at load only
        return lambda parts: make(*parts)
    if result.kind == "dataclass":
        kind = make_dataclass(result.name, fields)
        return lambda parts: kind(*parts)
    return tuple if result.kind == "tuple" else list
