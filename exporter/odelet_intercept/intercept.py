"""Catches the calls of solver libraries, wherever the model keeps the function.

Models import `odeint` by name, keep it on objects, in partials and default arguments, or call it through other
packages. So the functions themselves are changed while an interception lasts: their code objects are swapped for a
trampoline, which every reference then reaches. Calls from other threads reach the original.
"""

from __future__ import annotations

import inspect
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from odelet.errors import InputError
from odelet_intercept.call import Call, Entry, Substitute, message_start
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries import LIBRARIES, all_entries
from odelet_intercept.user_code import user_frame

# A handler takes a call and the library's own solver, and returns the result of the call in the model.
Handler = Callable[[Call, Callable[..., Any]], Any]


@dataclass(frozen=True)
class PlainCall:
    """A call of a function that solves, as the model makes it: nothing of it is read, and nothing is refused.

    entry: the function called. arguments: bound to the names of the parameters, without defaults. function: the
    library's own. file, line: the place where the model's code calls it.
    """

    entry: Entry
    arguments: inspect.BoundArguments
    function: Callable[..., Any]
    file: str
    line: int

    def run(self) -> Any:
        """The result of the call."""
        return self.function(*self.arguments.args, **self.arguments.kwargs)


@dataclass
class _Interception:
    handler: Handler | None
    watcher: Callable[[PlainCall], Any] | None
    entries: Sequence[Entry]
    originals: dict[Callable[..., Any], Callable[..., Any]]
    thread: int
    tracing: bool
    depth: int = 0


_active: _Interception | None = None
_lock = threading.RLock()


def dispatch(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer to a call that reached the trampoline of the entry `number`.

    Raises CaptureError, naming the line of the model, where the handler raises InputError.
    """
    current = _active
    assert current is not None, "a trampoline outlived its interception"
    entry = current.entries[number]
    original = current.originals[entry.function]
    if threading.get_ident() != current.thread:
        return original(*args, **kwargs)
    file, line = user_frame()
    if current.watcher is not None:
        bound = inspect.signature(original).bind(*args, **kwargs)
        return current.watcher(PlainCall(entry, bound, original, file, line))
    where = message_start(file, line)
    reading = LIBRARIES[entry.library].read(entry, inspect.signature(original).bind(*args, **kwargs), where)
    if isinstance(reading, Substitute):
        return reading.function() if current.tracing else original(*args, **kwargs)
    if not isinstance(reading, Call):
        return reading()
    call = replace(reading, entry=entry.name, file=file, line=line, depth=current.depth, copy=entry.copy)
    current.depth += 1
    assert current.handler is not None, "an interception has a handler or a watcher"
    try:
        return current.handler(call, current.originals[entry.solver or entry.function])
    except InputError as error:
        raise CaptureError(f"{where}{error}") from error
    finally:
        current.depth -= 1


@contextmanager
def intercepted(handler: Handler, *, copies: Sequence[Entry] = (), tracing: bool = False) -> Iterator[None]:
    """Send every call of a solver library on this thread to `handler(call, solver)`; `solver` is the library's own.

    copies: further functions to catch, those of copies of torchdiffeq; the handler then gets the `odeint` of the copy.
    tracing: whether a tracer runs the model, so that a substitute takes the place of each call that has one.
    Calls made while the handler runs come to it as well, with their depth. The interception is undone on leaving, also
    after an error. Inside another interception of the same thread the inner handler gets the calls, and then the outer
    one again. Another thread waits for the end of the interception.
    """
    with _caught(handler, None, (*all_entries(), *copies), tracing):
        yield


@contextmanager
def watching(watcher: Callable[[PlainCall], Any], *, copies: Sequence[Entry] = ()) -> Iterator[None]:
    """Send every call that solves on this thread to `watcher(call)`, which returns the result of the call.

    Nothing is read for an export: a call that cannot be exported comes to the watcher like any other, and functions
    that solve nothing are left alone. copies: as in `intercepted`. Inside an interception for an export nothing is
    watched, so that a model that watches itself can be exported.
    """
    if _active is not None and _active.handler is not None and _active.thread == threading.get_ident():
        yield
        return
    entries = tuple(entry for entry in (*all_entries(), *copies) if entry.solves)
    with _caught(None, watcher, entries, False):
        yield


@contextmanager
def _caught(
    handler: Handler | None, watcher: Callable[[PlainCall], Any] | None, entries: tuple[Entry, ...], tracing: bool
) -> Iterator[None]:
    global _active
    with _lock:
        outer = _active
        originals: dict[Callable[..., Any], Callable[..., Any]] = {}
        if outer is not None:
            # The trampolines that stay in place know their entries by number.
            added = [entry for entry in entries if entry.function not in outer.originals]
            entries, originals = (*outer.entries, *added), dict(outer.originals)
        functions = [entry.function for entry in entries]
        saved = [(f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]
        originals |= {f: original_of(f) for f in functions if f not in originals}
        _active = _Interception(handler, watcher, entries, originals, threading.get_ident(), tracing)
        try:
            for number, function in enumerate(functions):
                function.__code__ = _trampoline(function, number)
                function.__defaults__ = function.__kwdefaults__ = None
            yield
        finally:
            for function, (code, defaults, keyword_defaults) in zip(functions, saved, strict=True):
                function.__code__, function.__defaults__ = code, defaults
                function.__kwdefaults__ = keyword_defaults
            _active = outer


def original_of(function: types.FunctionType) -> Callable[..., Any]:
    """A copy of a function that does what the function does when its calls are not caught."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _trampoline(function: types.FunctionType, number: int) -> types.CodeType:
    """Code that needs nothing from the globals or the closure of the function that it is put into."""
    # Python refuses code with fewer free variables than the function has, such as the class behind `super()`.
    return _trampoline_code(number).replace(co_name=function.__name__, co_freevars=function.__code__.co_freevars)


@lru_cache(maxsize=256)
def _trampoline_code(number: int) -> types.CodeType:
    scope: dict[str, Any] = {}
    exec(
        "def trampoline(*args, **kwargs):\n"
        f"    from {__name__} import dispatch\n"
        f"    return dispatch({number}, args, kwargs)\n",
        scope,
    )
    code: types.CodeType = scope["trampoline"].__code__
    return code
