"""Lets others act while the torch model runs: at each call of a field they may tell how far it is, or end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class OutOfTime(Exception):
    """A run of the torch model was ended, as the time that it may take was used up."""


_at_field_calls: ContextVar[Callable[[], None] | None] = ContextVar("at_field_calls", default=None)


@contextmanager
def at_field_calls(action: Callable[[], None]) -> Iterator[None]:
    """Have an action taken at each call of a field in runs of the model within the context."""
    token = _at_field_calls.set(action)
    try:
        yield
    finally:
        _at_field_calls.reset(token)


def field_called() -> None:
    """Take the action of the context, if there is one. Raises what the action raises, such as OutOfTime."""
    action = _at_field_calls.get()
    if action is not None:
        action()
