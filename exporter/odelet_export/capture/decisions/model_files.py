"""The namespaces of a model's files, and whether their code calls what a name of Python's stands for."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from odelet_intercept.user_code import is_library

Namespace = dict[str, Any]


def of_models(spaces: Iterable[Mapping[str, Any]]) -> Iterator[Namespace]:
    """The namespaces of files that use torch and belong to no library, each once."""
    seen: set[int] = set()
    for space in spaces:
        if id(space) in seen or not isinstance(space, dict):
            continue
        seen.add(id(space))
        modules = (value for value in list(space.values()) if isinstance(value, types.ModuleType))
        uses_torch = any(module.__name__.partition(".")[0] == "torch" for module in modules)
        if uses_torch and not is_library(space.get("__file__") or ""):
            yield space


def calls(space: Namespace, name: str) -> bool:
    """Whether the functions of a namespace call what a name stands for, `float(t)`, and do not pass it on.

    As `dtype=float` it must be the class that torch knows; `isinstance(x, float)` is no reason against another.
    """
    called = False
    for code in _codes(space):
        found, passed = _uses(code, name)
        if passed:
            return False
        called |= found
    return called


def _codes(space: Namespace) -> Iterator[types.CodeType]:
    """The code of the functions, also in dicts, and methods that a namespace defines, with the code inside it."""
    for value in list(space.values()):
        own = isinstance(value, type) and value.__module__ == space.get("__name__")
        members = vars(value).values() if own else value.values() if isinstance(value, dict) else ()
        for member in (value, *members):
            function = _function_of(member)
            if isinstance(function, types.FunctionType) and function.__globals__ is space:
                yield from _nested(function.__code__)


def _function_of(member: Any) -> Any:
    """The function behind a method, property or wrapper; any other object as it is.

    No attribute of an object of the user's is looked up: a stand-in for a package that is not installed raises then.
    """
    while True:
        if isinstance(member, (staticmethod, classmethod, types.MethodType)):
            member = member.__func__
        elif isinstance(member, property):
            member = member.fget
        elif (wrapped := _own(member).get("__wrapped__")) is not None:
            member = wrapped
        else:
            return member


def _own(member: object) -> Mapping[str, Any]:
    try:
        own: Mapping[str, Any] = object.__getattribute__(member, "__dict__")
    except AttributeError:
        return {}
    return own


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _nested(inner)


def _uses(code: types.CodeType, name: str) -> tuple[bool, bool]:
    """Whether code calls what a global name stands for, and whether it may pass it on."""
    called = passed = False
    if name not in code.co_names:
        return called, passed
    instructions = list(dis.get_instructions(code))
    for one, following in zip(instructions, instructions[1:], strict=False):
        if one.opname != "LOAD_GLOBAL" or one.argval != name or one.arg is None:
            continue
        constant = following.argval if following.opname == "LOAD_CONST" else None
        if one.arg & 1:  # a call follows
            called = True
        elif following.opname == "KW_NAMES" or isinstance(constant, tuple):  # the value of a keyword
            passed = True
        elif following.opname != "BUILD_TUPLE" and not isinstance(constant, str):
            # It is neither one of several in `isinstance` nor an annotation.
            passed |= not {"isinstance", "issubclass"} & set(code.co_names)
    return called, passed
