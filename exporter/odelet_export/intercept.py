"""Catching calls of torchdiffeq and of `mark`, however the model came by the function.

Models import `odeint` by name, keep it on objects, in partials and default arguments, or call it through
other packages. So the functions themselves are changed while a capture runs: their code objects are
swapped for a trampoline, which every reference then reaches. Calls from other threads reach the original.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torchdiffeq

from odelet.errors import InputError
from odelet_export.copies import ARGUMENTS, GRADIENTS, OWN, Entry
from odelet_export.eager import as_field
from odelet_export.errors import CaptureError
from odelet_export.fixed_points import mark

_MARK = Entry("mark", mark, torchdiffeq.odeint)  # type: ignore[arg-type]


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


Handler = Callable[[Call, Callable[..., Any]], Any]


@dataclass
class _Interception:
    handler: Handler
    entries: Sequence[Entry]
    originals: dict[types.FunctionType, Callable[..., Any]]
    thread: int
    depth: int = 0


_active: _Interception | None = None
_lock = threading.Lock()


def dispatch(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Where the trampolines land."""
    current = _active
    assert current is not None, "a trampoline outlived its interception"
    entry = current.entries[number]
    original = current.originals[entry.function]
    if threading.get_ident() != current.thread:
        return original(*args, **kwargs)
    file, line = user_frame()
    where = f'File "{file}", line {line}: '
    if entry.kind == "odeint_dense":
        raise CaptureError(
            where + "the model calls torchdiffeq.odeint_dense, which cannot be exported yet; "
            "solve to fixed times with odeint instead"
        )
    bound = inspect.signature(original).bind(*args, **kwargs)
    if entry.copy:
        _check_known(entry, bound, where)
        bound.apply_defaults()
    given = bound.arguments
    if entry.kind == "odeint_event":
        return _until_event(**given, where=where)
    if entry.kind == "mark":
        given = _as_odeint(**{**(original.__kwdefaults__ or {}), **given})
    names = ("func", "y0", "t", "rtol", "atol", "method", "options", "event_fn")
    known = {name: given.pop(name) for name in names if name in given}
    call = Call(**known, entry=entry.kind, file=file, line=line, extra=given, depth=current.depth, copy=entry.copy)
    current.depth += 1
    try:
        return current.handler(call, current.originals[entry.odeint])
    except InputError as error:
        raise CaptureError(f'File "{file}", line {line}: {error}') from error
    finally:
        current.depth -= 1


def _check_known(entry: Entry, bound: inspect.BoundArguments, where: str) -> None:
    """Refuse an argument that a copy of torchdiffeq takes and torchdiffeq does not."""
    known = ARGUMENTS[entry.kind].union(GRADIENTS)
    for name, value in bound.arguments.items():
        default = bound.signature.parameters[name].default
        if name not in known and value is not default and value is not None and value is not False:
            raise CaptureError(
                where
                + f"{name}={value!r} is an argument of {entry.kind} in {entry.copy}, a copy of torchdiffeq, which "
                "torchdiffeq does not have; leave it out"
            )


def _as_odeint(f: Any, z0: Any, *, norm: Any, options: Any, **others: Any) -> dict[str, Any]:
    """The arguments of a call of `mark`, by the names of odeint's where it has them."""
    options = dict(options or {}) | ({"norm": norm} if norm is not None else {})
    # A capture sees the field called with a time, as those of ODEs are.
    return {"func": as_field(f, z0), "y0": z0, "t": torch.zeros(1), "options": options, **others}


def _until_event(
    func: Any,
    y0: Any,
    t0: Any,
    *,
    event_fn: Any,
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = torchdiffeq.odeint,
    kwargs: Mapping[str, Any] | None = None,
    where: str = "",
) -> Any:
    """What `odeint_event` does at inference: a solve whose second time only says the direction.

    The interface is one of the entry points, or leads to one. What else `odeint_event` does concerns gradients.
    """
    if not isinstance(t0, torch.Tensor) or t0.numel() != 1:
        raise CaptureError(where + f"t0 must be a tensor of one number; got {t0!r}")
    start = t0.reshape(-1)
    t = torch.cat([start, start - 1.0 if reverse_time else start + 1.0])
    return odeint_interface(func, y0, t, event_fn=event_fn, **(kwargs or {}))


def user_frame() -> tuple[str, int]:
    """The innermost frame on the stack that is the model's own code: file and line."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if not is_library(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "<unknown>", 0


def _folder(module: types.ModuleType) -> str:
    return os.path.dirname(os.path.abspath(module.__file__ or "")) + os.sep


_PACKAGES = (_folder(torch), _folder(torchdiffeq), _folder(sys.modules[__name__]))
_STANDARD_LIBRARY = _folder(inspect)


def is_library(file: str) -> bool:
    """Whether a file belongs to torch, torchdiffeq, the standard library or this package."""
    standard = file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file
    return file.startswith("<") or standard or file.startswith(_PACKAGES)


@contextmanager
def intercepted(handler: Handler, *, copies: Sequence[Entry] = ()) -> Iterator[None]:
    """Send every call of torchdiffeq's entry points on this thread to `handler(call, original_odeint)`.

    copies: further functions to catch, of copies of torchdiffeq; the handler then gets the odeint of the copy. Calls
    made while the handler runs come to it as well, with their depth.
    Undone on leaving, also after an error. Only one interception at a time in a process.
    """
    global _active
    with _lock:
        entries = (*OWN, _MARK, *copies)
        functions = [entry.function for entry in entries]
        saved = [(f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]
        _active = _Interception(handler, entries, {f: original_of(f) for f in functions}, threading.get_ident())
        try:
            for number, function in enumerate(functions):
                function.__code__ = _trampoline(function.__name__, number)
                function.__defaults__ = function.__kwdefaults__ = None
            yield
        finally:
            for function, parts in zip(functions, saved, strict=True):
                function.__code__, function.__defaults__, function.__kwdefaults__ = parts
            _active = None


def original_of(function: types.FunctionType) -> Callable[..., Any]:
    """What a function does when nobody catches its calls."""
    copy = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _trampoline(name: str, number: int) -> types.CodeType:
    """Code that needs nothing from the globals of the function it is put into."""
    scope: dict[str, Any] = {}
    exec(
        f"def {name}(*args, **kwargs):\n"
        f"    from odelet_export.intercept import dispatch\n"
        f"    return dispatch({number}, args, kwargs)\n",
        scope,
    )
    code: types.CodeType = scope[name].__code__
    return code
