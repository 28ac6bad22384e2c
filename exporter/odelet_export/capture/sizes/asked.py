"""Where Python asks a size of a dynamic axis for a number: `len`, `int` and others return numbers alone.

They would fix the size. In files that use torch, functions that return symbols take the places of Python's own (see
`decisions/python_functions`). Where other code of the model asks, the trace ends with NeedsStandIns and begins again
with these functions in the globals of that code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import odelet_export
from odelet_intercept.user_code import is_library

_TORCH = os.path.dirname(os.path.abspath(torch.__file__))
# Files between Python's question and who asks: symbols ask other symbols, and tensors ask modes, also those of odelet.
_BETWEEN = (
    *(os.path.join(_TORCH, name) for name in ("__init__.py", "_tensor.py", "overrides.py")),
    os.path.dirname(os.path.abspath(odelet_export.__file__)) + os.sep,
)
Namespace = dict[str, Any]


class NeedsStandIns(Exception):
    """Raised where the model's code makes a number of a size: trace again with other functions in `namespace`."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__("a number made of a size")
        self.namespace = namespace


class Asked:
    """The watch over such questions. namespaces: the globals of the code that asked."""

    def __init__(self) -> None:
        self.namespaces: list[Namespace] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice where Python asks, until the block is left."""
        with _asked(torch.SymInt, self.notice), _asked(torch.SymFloat, self.notice):
            yield

    def notice(self) -> None:
        """Raise NeedsStandIns where the code that asks for a number is the model's own and has Python's functions."""
        frame = sys._getframe()
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
            frame = frame.f_back
        space = frame.f_globals
        if not is_library(frame.f_code.co_filename) and not any(space is known for known in self.namespaces):
            raise NeedsStandIns(space)


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
