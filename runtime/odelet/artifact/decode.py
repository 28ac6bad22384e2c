"""Turns JSON text into frozen dataclasses, strictly: the type hints of the fields say what is allowed.

The law here: a key that is not a field, a missing key, or a value of another type is an ArtifactError
that gives the path to the key. Only whole numbers are converted, to float.
"""

from __future__ import annotations

import json
import math
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from odelet.errors import ArtifactError

T = TypeVar("T")
# A value that JSON can hold, however deep: None, bool, int, float, str, list or dict.
Json: TypeAlias = Any
# A type hint: a class, a union, or a generic like tuple[int, ...]. Python has no type of all of them.
Hint: TypeAlias = Any

# A card that odelet writes has a third of this depth.
MAX_DEPTH = 32

_WORDS: dict[Hint, str] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


def parse_json(text: str | bytes, *, what: str) -> Json:
    """Return the JSON value of a text. what: name of the text in messages.

    Raises ArtifactError for a text that is not JSON, for NaN, infinity, numbers that no int64 and no float64 can hold,
    repeated keys, and lists and objects that nest deeper than `MAX_DEPTH`.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
            parse_float=_finite_number,
        )
        _check_depth(data)
        # Half a surrogate pair can be parsed, and could then be neither printed nor compared with a file's name.
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what}: it is not valid JSON ({error})") from None
    return data


def decode(kind: type[T], value: Json, *, what: str) -> T:
    """Return a dataclass of a kind from a JSON value. what: name of the value in messages.

    Raises ArtifactError naming the key that does not fit.
    """
    result = _decode(kind, value, what)
    assert isinstance(result, kind)
    return result


def _without_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def _whole_number(text: str) -> int:
    number = int(text) if len(text) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"the number {text[:20]}... is too large")
    return number


def _finite_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _check_depth(data: Json) -> None:
    """Raise ValueError for values that nest too deep: whatever walks through a card later would run out of stack."""
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, (list, dict))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"it nests deeper than {MAX_DEPTH}")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _refuse(where: str, value: Json, expected: str) -> ArtifactError:
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return ArtifactError(f"{where} is {text}; expected {expected}")


class _Kind(NamedTuple):
    """A type hint, taken apart once: its origin and arguments, the Python type of its JSON values, and, of a dataclass,
    the type hint of each field, the fields that have no default, and the first field."""

    origin: Hint
    args: tuple[Hint, ...]
    json_type: Hint
    hints: dict[str, Hint]
    needed: tuple[str, ...]
    first: str


@cache
def _kind_of(hint: Hint) -> _Kind:
    origin: Hint = get_origin(hint)
    if not is_dataclass(hint):
        json_type = list if origin is tuple else dict if origin is dict else hint
        return _Kind(origin, get_args(hint), json_type, {}, (), "")
    hints, members = get_type_hints(hint), fields(hint)
    needed = tuple(f.name for f in members if f.default is MISSING and f.default_factory is MISSING)
    return _Kind(None, (), dict, {f.name: hints[f.name] for f in members}, needed, members[0].name)


def _decode(hint: Hint, value: Json, where: str) -> Any:  # a value of the hint
    if hint is Any:
        return value
    kind = _kind_of(hint)
    if kind.origin in (Union, types.UnionType):
        return _decode_union(kind.args, value, where)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not kind.json_type:
        raise _refuse(where, value, _WORDS[kind.json_type])
    if kind.origin is tuple:
        return tuple(_decode(kind.args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if kind.origin is dict:
        return {key: _decode(kind.args[1], item, f"{where}[{key!r}]") for key, item in value.items()}
    return _decode_dataclass(hint, kind, value, where) if kind.hints else value


def _decode_union(hints: tuple[Hint, ...], value: Json, where: str) -> Any:  # a value of one of the hints
    """Decode a value as the hint that its JSON type names; among dataclasses, as the one whose first field it has."""
    for hint in hints:
        kind = _kind_of(hint)
        if kind.hints:
            if isinstance(value, dict) and kind.first in value:
                return _decode(hint, value, where)
        elif type(value) is kind.json_type or (hint is float and type(value) is int):
            return _decode(hint, value, where)
    kinds = [_kind_of(hint) for hint in hints]
    expected = (f"an object with {kind.first!r}" if kind.hints else _WORDS[kind.json_type] for kind in kinds)
    raise _refuse(where, value, " or ".join(expected))


def _decode_dataclass(hint: Hint, kind: _Kind, value: dict[str, Json], where: str) -> Any:  # a value of the hint
    for key in value:
        if key not in kind.hints:
            raise ArtifactError(f"{where} has an unknown key {key!r}; known are {', '.join(kind.hints)}")
    for name in kind.needed:
        if name not in value:
            raise ArtifactError(f"{where} has no {name!r}")
    return hint(**{key: _decode(kind.hints[key], item, f"{where}.{key}") for key, item in value.items()})
