"""What the interception knows of a solver library: its functions, how a call is read, and a caught call as data."""

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
    """A call of `odeint`, `odeint_adjoint` or `mark`, with defaults filled in.

    func, y0, t, rtol, atol, method, options, event_fn: as torchdiffeq names them; of a call of `mark`, which knows no
    time, t is one unused number. entry: the name of the function called. file, line: where in the model's code. extra:
    the arguments that have no other place. depth: how many solves it is inside of. copy: the module of the copy of
    torchdiffeq that it calls, if one.
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
        """File name and line, without the folder, which is nobody's business but the author's."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def solve(self, original: Callable[..., Any], **changes: Any) -> Any:
        """Run torchdiffeq's own odeint on this call, with some arguments changed."""
        call = replace(self, **changes)
        keywords = {
            "rtol": call.rtol,
            "atol": call.atol,
            "method": call.method,
            "options": dict(call.options) if call.options is not None else None,
        }
        if call.event_fn is not None:  # old copies know no events
            keywords["event_fn"] = call.event_fn
        return original(call.func, call.y0, call.t, **keywords)


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
