"""Counts the calls of fields while the torch model runs, and ends a run that makes too many.

An event that never comes, or a stiff sample, would let torchdiffeq go on for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odelet_export.model.random_sources import field_call
from odelet_export.model.time_limit import field_called
from odelet_export.model.writes import called

# A run on other inputs may call fields this many times as often as the run on the example, and always so many times.
MOST_TIMES_AS_MANY = 100
ALWAYS_ALLOWED = 2_000
# The first calls of a field may draw numbers that the field keeps, as in `if self.e is None: self.e = ...`.
_MAY_KEEP = 2


class TooManyCalls(Exception):
    """A run of the torch model called its fields more often than it may."""


class FieldCalls:
    """The calls of fields in one run of the model. most: how many there may be; None for any number. may_draw: whether
    calls after the second may draw random numbers; where they may not, CaptureError names the line that draws.

    count: the calls so far.
    """

    def __init__(self, *, most: int | None = None, may_draw: bool = True) -> None:
        self.count = 0
        self._most, self._may_draw = most, may_draw

    def watching(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """A field whose calls are counted here. It raises TooManyCalls when there are more than there may be."""
        return WatchedField(func, self.make)

    def make(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Count one call, and make it. Raises TooManyCalls, and what the action at field calls raises (see
        `time_limit`)."""
        field_called()
        self.count += 1
        if self._most is not None and self.count > self._most:
            raise TooManyCalls(f"torch called the fields more than {self._most:,} times")
        if self._may_draw or self.count <= _MAY_KEEP:
            return called(func, args, kwargs)
        with field_call("refused"):
            return called(func, args, kwargs)


class WatchedField:
    """A field whose calls go through `make`; solvers find the callbacks of the user's field on it."""

    def __init__(self, func: Callable[..., Any], make: Callable[..., Any]) -> None:
        self._func, self._make = func, make

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._make(self._func, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_func" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._func, name)


def most_calls(on_example: int) -> int:
    """The limit of field calls for runs on other inputs. on_example: how many the run on the example made."""
    return max(MOST_TIMES_AS_MANY * on_example, ALWAYS_ALLOWED)
