"""Turns JSON text into frozen dataclasses, strictly: the type hints of the fields say what is allowed.

The law here: a key that is not a field, a missing key, or a value of another type is an ArtifactError
that gives the path to the key. Only whole numbers are converted, to float.
"""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from odelet.errors import ArtifactError

T = TypeVar("T")
# A value that JSON can hold, however deep: None, bool, int, float, str, list or dict.
Json: TypeAlias = Any
# A type hint: a class, a union, or a generic like tuple[int, ...]. Python has no type of all of them.
Hint: TypeAlias = Any

_hints = cache(get_type_hints)
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

    Raises ArtifactError for a text that is not JSON, and for NaN, infinity and repeated keys.
    """
    try:
        data = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
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


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _refuse(where: str, value: Json, expected: str) -> ArtifactError:
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return ArtifactError(f"{where} is {text}; expected {expected}")


def _decode(kind: Hint, value: Json, where: str) -> Any:  # a value of the kind
    origin: Hint = get_origin(kind)
    args = get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(args, value, where)
    json_type = _json_type(kind)
    if kind is float and type(value) is int and abs(value) < 2**1000:
        value = float(value)
    if type(value) is not json_type:
        raise _refuse(where, value, _WORDS[json_type])
    if origin is tuple:
        return tuple(_decode(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        return {key: _decode(args[1], item, f"{where}[{key!r}]") for key, item in value.items()}
    return _decode_dataclass(kind, value, where) if is_dataclass(kind) else value


def _json_type(kind: Hint) -> Hint:
    """Return the Python type of the JSON values of a kind."""
    origin: Hint = get_origin(kind)
    return list if origin is tuple else dict if origin is dict or is_dataclass(kind) else kind


def _decode_union(kinds: tuple[Hint, ...], value: Json, where: str) -> Any:  # a value of one of the kinds
    """Decode a value as the kind that its JSON type names; among dataclasses, as the kind whose first field it has."""
    for kind in kinds:
        if is_dataclass(kind):
            if isinstance(value, dict) and fields(kind)[0].name in value:
                return _decode(kind, value, where)
        elif type(value) is _json_type(kind) or (kind is float and type(value) is int):
            return _decode(kind, value, where)
    expected = (f"an object with {fields(k)[0].name!r}" if is_dataclass(k) else _WORDS[_json_type(k)] for k in kinds)
    raise _refuse(where, value, " or ".join(expected))


def _decode_dataclass(kind: Hint, value: dict[str, Json], where: str) -> Any:  # a value of the kind
    hints = _hints(kind)
    by_name = {f.name: f for f in fields(kind)}
    for key in value:
        if key not in by_name:
            raise ArtifactError(f"{where} has an unknown key {key!r}; known are {', '.join(by_name)}")
    for name, f in by_name.items():
        if name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise ArtifactError(f"{where} has no {name!r}")
    return kind(**{key: _decode(hints[key], item, f"{where}.{key}") for key, item in value.items()})
