"""Tells what a capture does while it runs: its parts with their seconds, and the calls of a solve's functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A capture that is done within so many seconds tells nothing, and calls are told at most so often.
_QUIET_FOR, _TELL_EVERY = 2.0, 5.0


class _Progress:
    """The parts of one capture. tell: called with a line. now: the clock, in seconds."""

    def __init__(self, tell: Callable[[str], None], now: Callable[[], float]) -> None:
        self._tell, self._now = tell, now
        self._began = self._part_began = self._told = now()
        self._part = ""
        self._calls = 0
        self._done: list[str] = []

    def begin(self, part: str) -> None:
        now = self._now()
        if self._part:
            self._done.append(f"{self._part} took {now - self._part_began:.1f} s")
        self._part, self._part_began, self._calls = part, now, 0
        if now - self._began >= _QUIET_FOR:
            self._say("; ".join([part, *self._done]))

    def call(self, where: str) -> None:
        self._calls += 1
        now = self._now()
        if now - self._told >= _TELL_EVERY:
            seconds = now - self._part_began
            self._say(f"{self._part}: {self._calls} calls of functions of solves, now {where}; {seconds:.0f} s")

    def _say(self, line: str) -> None:
        self._told = self._now()
        self._tell(line)


_progress: ContextVar[_Progress | None] = ContextVar("progress", default=None)


@contextmanager
def told(tell: Callable[[str], None] | None, *, now: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Let captures within tell their progress, a line at a time. tell: None for none. now: a clock, in seconds."""
    token = _progress.set(None if tell is None else _Progress(tell, now))
    try:
        yield
    finally:
        _progress.reset(token)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Note that a part of the capture begins; it lasts until the next. name: what it does: "trace by torch.export"."""
    if (progress := _progress.get()) is not None:
        progress.begin(name)
    yield


def field_called(where: str) -> None:
    """Note that a function of a solve is called in a trace. where: the solve, as `the solve at model.py:7`."""
    if (progress := _progress.get()) is not None:
        progress.call(where)
