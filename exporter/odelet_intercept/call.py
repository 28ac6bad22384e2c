"""Describes a solver library for the interception: its functions, the reading of their calls, and a call as data."""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Call:
    """A caught call of a solver library, as its `Library.read` returns it.

    func, y0, t, rtol, atol, method, options, event_fn: the arguments, by torchdiffeq's names, and its defaults. A call
    of `mark` has no time; its t is one number, which nothing reads. extra: arguments that have no place among these. A
    library whose calls have many others makes a subclass with fields of its own, which handlers recognise by its type.

    The interception sets the other fields. entry: the name of the function called. file, line: the place where the
    model's code calls it. depth: the number of solves around the call. copy: the module of the copy of the library that
    was called, or "".
    """

    func: Callable[..., Any]
    y0: Any
    t: torch.Tensor
    rtol: Any = 1e-7
    atol: Any = 1e-9
    method: str | None = None
    options: Mapping[str, Any] | None = None
    event_fn: Any = None
    entry: str = "odeint"
    file: str = ""
    line: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    depth: int = 0
    copy: str = ""

    @property
    def source(self) -> str:
        """The file name and line, without the folder, which is nobody's business but the author's."""
        return f"{os.path.basename(self.file)}:{self.line}"

    @property
    def where(self) -> str:
        """The start of an error message about the call: its file and line."""
        return message_start(self.file, self.line)

    def solve(self, original: Callable[..., Any], **changes: Any) -> Any:
        """The solution by `original`, an `odeint` of torchdiffeq or of a copy. changes: other values of fields."""
        call = replace(self, **changes)
        keywords = {
            "rtol": call.rtol,
            "atol": call.atol,
            "method": call.method,
            "options": dict(call.options) if call.options is not None else None,
        }
        if call.event_fn is not None:  # old copies have no argument event_fn
            keywords["event_fn"] = call.event_fn
        return original(call.func, call.y0, call.t, **keywords)


def message_start(file: str, line: int) -> str:
    """The start of an error message: a file and a line of the model's code."""
    return f'File "{file}", line {line}: '


@dataclass(frozen=True)
class Entry:
    """A function whose calls are caught.

    name: the name of the function in its library. function: the function itself, written in Python; for a method of a
    class, the function in the class, whose first argument is `self`. library: the key of its library in `LIBRARIES`.
    solver: the function of the library that runs a solve, and an entry too; None where it is this function. A handler
    gets the solver uncaught.
    copy: the module of a copy of the library that a package brings along, or "" for the library itself.
    solves: whether the function solves something, and does not merely prepare a solve.
    """

    name: str
    function: types.FunctionType
    library: str
    solver: types.FunctionType | None = None
    copy: str = ""
    solves: bool = True


@dataclass(frozen=True)
class Substitute:
    """A call that no trace can follow, although it solves nothing. function: computes the same in operators that a
    trace can follow; it takes the call's place in a trace alone, so that a proof compares it with the library."""

    function: Callable[[], Any]


# The result of reading a call: the call as data; a function to run in its place, which calls another caught function;
# or a substitute.
Reading = Call | Callable[[], Any] | Substitute


@dataclass(frozen=True)
class Library:
    """A solver library whose calls are caught.

    package: the top-level package of the library; its files are never the user's own code. It need not be installed.
    entries: returns the functions to catch; it is called whenever an interception begins. For a library that odelet
    does not require, it looks in sys.modules, and returns no entries where the model has not imported the library.
    read: returns the call as data, a function to run in its place, or a substitute. It gets the entry, the bound
    arguments (with no defaults filled in), and the start of an error message, which names the user's file and line. It
    raises CaptureError for a call that cannot be exported.
    """

    package: str
    entries: Callable[[], Sequence[Entry]]
    read: Callable[[Entry, inspect.BoundArguments, str], Reading]
