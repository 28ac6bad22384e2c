"""What a solver library is to the interception: its functions, and how a call of one of them is read."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A function whose calls are caught.

    kind: the library's name for the function. function: the function. solver: the function of the same library that
    runs a solve; a handler gets it, uncaught. library: a name in `LIBRARIES`. copy: the module of a copy of the library
    that a package brings along, or "" for the library itself.
    """

    kind: str
    function: types.FunctionType
    solver: types.FunctionType
    library: str
    copy: str = ""


# The fields of a `Call` that a library knows, by name; or a function to run in place of the call, which calls another
# caught function itself.
Reading = Mapping[str, Any] | Callable[[], Any]


@dataclass(frozen=True)
class Library:
    """A solver library whose calls are caught.

    name: of its top-level package, whose files are never the user's own code. entries: the functions to catch; empty
    where the library is not imported. read: what a call asks for, given the entry, the bound arguments (defaults not
    filled in), and the start of an error message, which names the user's file and line. `read` raises CaptureError for
    a call that cannot be exported.
    """

    name: str
    entries: Callable[[], Sequence[Entry]]
    read: Callable[[Entry, inspect.BoundArguments, str], Reading]
