"""The time that torch takes for the comparison: it is added up, told while it passes, and limited."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from odelet_export.model.time_limit import OutOfTime, at_field_calls

# The seconds between two lines about the progress of torch.
_TELL_EVERY = 5.0


class TorchClock:
    """Adds up the seconds of torch's runs.

    limit: how many seconds fresh samples may take in all. tell: called with a line about the progress, at most every
    few seconds. seconds: the time of all runs so far, those on the example included.
    """

    def __init__(self, limit: float, tell: Callable[[str], None] | None = None) -> None:
        self.limit = limit
        self.seconds = 0.0
        self._limited = 0.0
        self._tell = tell or (lambda line: None)
        self._told = time.perf_counter()

    @property
    def used_up(self) -> bool:
        """Whether fresh samples have had all their time."""
        return self._limited >= self.limit

    @contextmanager
    def running(self, what: str, *, limited: bool) -> Iterator[None]:
        """Count the time of a run of the model. what: the run, for the lines about the progress. limited: whether the
        run ends with OutOfTime, at a call of a field, once the time is used up."""
        began = time.perf_counter()
        calls = 0

        def at_call() -> None:
            nonlocal calls
            calls += 1
            now = time.perf_counter()
            if limited and self._limited + now - began >= self.limit:
                raise OutOfTime(f"torch had its {self.limit:g} s")
            if now - self._told >= _TELL_EVERY:
                self._told = now
                seconds = self.seconds + now - began
                self._tell(f"torch: {what}, {calls:,} field calls; {seconds:.0f} s in all, limit {self.limit:g} s")

        try:
            with at_field_calls(at_call):
                yield
        finally:
            took = time.perf_counter() - began
            self.seconds += took
            self._limited += took if limited else 0.0
