"""Python's `len` and `int` of what a trace holds as symbols: the lengths of tensors, sizes, and fractions of sizes.

Python lets both return numbers alone, so that they would fix the size of an axis. Where the model's code calls one of
them on the size of a dynamic axis, the trace ends with NeedsLenAndInt. It begins again with functions in the globals of
that code that take the places of Python's own and return symbols. Code that never asks is never touched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._sympy.functions import FloorDiv

import odelet_export
from odelet_export.capture.sizes.conditions import quotient
from odelet_intercept.user_code import is_library

_TORCH = os.path.dirname(os.path.abspath(torch.__file__))
# Files between Python's question and who asks: symbols ask other symbols, and tensors ask modes, also those of odelet.
_BETWEEN = (
    *(os.path.join(_TORCH, name) for name in ("__init__.py", "_tensor.py", "overrides.py")),
    os.path.dirname(os.path.abspath(odelet_export.__file__)) + os.sep,
)
Namespace = dict[str, Any]


class NeedsLenAndInt(Exception):
    """Raised where the model's code makes a number of a size: trace again with other functions in `namespace`."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__("a number made of a size")
        self.namespace = namespace


class LenAndInt:
    """The functions that take the places of Python's own, and the namespaces that need them."""

    def __init__(self) -> None:
        self._namespaces: list[Namespace] = []

    def add(self, needed: NeedsLenAndInt) -> None:
        """Put the functions into one more namespace, from the next trace on."""
        self._namespaces.append(needed.namespace)

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Let the functions take the places of Python's own until the block is left."""
        # A name to which the file gives a meaning of its own keeps it.
        names = [(space, [name for name in _FUNCTIONS if name not in space]) for space in self._namespaces]
        try:
            for space, new in names:
                space.update({name: _FUNCTIONS[name] for name in new})
            with _asked(torch.SymInt, self.notice), _asked(torch.SymFloat, self.notice):
                yield
        finally:
            for space, new in names:
                for name in new:
                    del space[name]

    def notice(self) -> None:
        """Raise NeedsLenAndInt where the code that asks for a number is the model's own and has Python's functions."""
        frame = sys._getframe()
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
            frame = frame.f_back
        space = frame.f_globals
        if not is_library(frame.f_code.co_filename) and not any(space is known for known in self._namespaces):
            raise NeedsLenAndInt(space)


@contextmanager
def _asked(kind: Any, notice: Callable[[], None]) -> Iterator[None]:
    """Call `notice` where Python asks a symbol of a kind for its whole number."""
    original = kind.__int__

    def ask(size: Any) -> Any:
        if not size.node.expr.is_number:
            notice()
        return original(size)

    kind.__int__ = ask
    try:
        yield
    finally:
        kind.__int__ = original


def _length(x: Any, /) -> Any:
    """The answer of `len`; for a tensor the size of its first axis, symbolic where that may change."""
    return x.shape[0] if isinstance(x, torch.Tensor) and x.ndim else len(x)


class _Whole(type):
    """The class of the class that takes the place of `int`, in all that a file does with the name."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], (torch.SymInt, torch.SymFloat)) and not kwargs:
            return _whole_part(args[0])
        if len(args) == 1 and isinstance(args[0], torch.Tensor) and not kwargs:
            number = args[0].item()
            return number if isinstance(number, torch.SymInt) else int(args[0])
        return int(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, (int, torch.SymInt))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, int)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is int

    def __hash__(cls) -> int:
        return hash(int)


class _Int(int, metaclass=_Whole):
    """What takes the place of `int`."""


def _whole_part(size: torch.SymInt | torch.SymFloat) -> Any:
    """The whole part of a size or of a fraction of a size. A fraction becomes a quotient of whole numbers, with which a
    tracer can reckon."""
    if isinstance(size, torch.SymInt):
        return size
    parts = quotient(size.node.expr)
    if parts is None:
        return torch.sym_int(size)
    env, whole = size.node.shape_env, FloorDiv(*parts)
    return env.create_symintnode(whole, hint=int(whole.xreplace(env.backed_var_to_val)))


_FUNCTIONS: Namespace = {"len": _length, "int": _Int}
