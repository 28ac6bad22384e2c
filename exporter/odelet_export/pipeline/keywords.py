"""Flat keywords for settings that consist of parts: the field that each keyword sets, and changes by keywords.

A part is a field whose own type is a dataclass. The keyword of a field is the field's name, or the entry "keyword" in
the metadata of the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_type_hints

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Keyword:
    """A flat keyword. part: the name of the field that holds the keyword's part, "" for a keyword outside any part.
    field: the name of the keyword's own field. kind: the type of its values. default: the default value,
    dataclasses.MISSING where a value is required. help: a line for the command line."""

    part: str
    field: str
    kind: Any
    default: Any
    help: str


def keywords_of(kind: type) -> dict[str, Keyword]:
    """The flat keywords of a class of settings, in the order of its fields."""
    hints = get_type_hints(kind, include_extras=True)
    keywords: dict[str, Keyword] = {}
    for field in fields(kind):
        hint = hints[field.name]
        if is_dataclass(hint):
            parts = keywords_of(hint)  # type: ignore[arg-type]  # is_dataclass narrows to instances too
            keywords |= {name: replace(keyword, part=field.name) for name, keyword in parts.items()}
        else:
            # A field without Annotated has no line of help.
            of_values, *notes = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
            name = field.metadata.get("keyword", field.name)
            keywords[name] = Keyword("", field.name, of_values, field.default, next(iter(notes), ""))
    return keywords


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some values changed by flat keywords.

    Raises TypeError for an unknown keyword, and the settings' own errors for values that they refuse.
    """
    keywords = keywords_of(type(settings))
    check_names(changes, keywords)
    direct: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        keyword = keywords[name]
        (parts.setdefault(keyword.part, {}) if keyword.part else direct)[keyword.field] = value
    direct |= {part: replace(getattr(settings, part), **values) for part, values in parts.items()}
    return replace(settings, **direct)  # type: ignore[type-var]  # a type variable cannot be bound to dataclasses


def check_names(changes: Mapping[str, Any], keywords: Mapping[str, Keyword]) -> None:
    """Raise TypeError, naming the nearest keywords, for a name that is no keyword."""
    for name in changes:
        if name not in keywords:
            near = get_close_matches(name, keywords) or list(keywords)
            raise TypeError(f"there is no setting {name!r}; did you mean {' or '.join(near)}?")
