"""When the runs of a call end before they are done: at the call's deadline, or when its caller is interrupted.

The law here: a run is ended by the options that it was given, which ONNX Runtime looks at before each node. Options
that ended one run end every run that gets them; each call therefore has its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from threading import Condition, Thread
from time import perf_counter

import onnxruntime as ort

# What has no deadline in sight waits this long, in seconds, for the next call with one, and then ends.
_IDLE = 1.0
# A wait of a lock may not be longer than some number of seconds, which depends on the platform.
_LONGEST_WAIT = 3600.0


class EndedError(Exception):
    """A run of a graph was ended at the deadline of its call."""


class Ending:
    """What ends the runs of a call, also from another thread. options: what these runs are given."""

    def __init__(self) -> None:
        self.options = ort.RunOptions()
        self.options.log_severity_level = 4  # a run that is ended is no error to write down
        self._inner: list[Ending] = []
        self._interrupted = self._ended = False

    def end(self, *, interrupted: bool = False) -> None:
        """End the run in progress and all later ones. interrupted: whether the caller has no use for the call."""
        self._interrupted = self._interrupted or interrupted
        self._ended = self.options.terminate = True
        for inner in list(self._inner):
            inner.end(interrupted=interrupted)

    def check(self) -> None:
        """Raise EndedError, or KeyboardInterrupt for an interrupted caller, if the runs have been ended."""
        if self._interrupted:
            raise KeyboardInterrupt
        if self._ended:
            raise EndedError

    @contextmanager
    def running(self) -> Iterator[None]:
        """For what is run inside, in this thread: it gets these options, and ends with what is around it as well."""
        outer = _ENDING.get()
        if outer is not None:
            outer._inner.append(self)
            if outer._ended:
                self.end(interrupted=outer._interrupted)
        ending, options = _ENDING.set(self), _OPTIONS.set(self.options)
        try:
            yield
        finally:
            _OPTIONS.reset(options)
            _ENDING.reset(ending)
            if outer is not None:
                outer._inner.remove(self)


_ENDING: ContextVar[Ending | None] = ContextVar("ending", default=None)
_OPTIONS: ContextVar[ort.RunOptions | None] = ContextVar("options", default=None)

# The options of the runs of this call; None, as most calls have neither a deadline nor a caller who may interrupt them.
run_options: Callable[[], ort.RunOptions | None] = _OPTIONS.get


def check_ended() -> None:
    """Raise EndedError, or KeyboardInterrupt for an interrupted caller, if the runs of this call have been ended."""
    ending = _ENDING.get()
    if ending is not None:
        ending.check()


@contextmanager
def ended_at(time: float) -> Iterator[None]:
    """End the runs that are made inside, in this thread, at a value of `time.perf_counter()`.

    A run that is ended raises EndedError, and so does every run after it.
    """
    ending = Ending()
    _watch.add(ending, time)
    try:
        with ending.running():
            yield
    finally:
        _watch.remove(ending)


class _Watch:
    """A thread that ends what is due. It lives while there are deadlines, and a little longer."""

    def __init__(self) -> None:
        self._due: dict[Ending, float] = {}
        self._changed = Condition()
        self._wakes = inf
        self._alive = False

    def add(self, ending: Ending, time: float) -> None:
        if time <= perf_counter():
            ending.end()
            return
        with self._changed:
            if not self._alive:
                Thread(target=self._run, name="odelet deadlines", daemon=True).start()
                self._alive = True
            elif time < self._wakes:
                self._changed.notify()
            self._due[ending] = time

    def remove(self, ending: Ending) -> None:
        with self._changed:
            self._due.pop(ending, None)

    def _run(self) -> None:
        with self._changed:
            idle = False
            while self._due or not idle:
                now = perf_counter()
                for ending in [ending for ending, time in self._due.items() if time <= now]:
                    del self._due[ending]
                    ending.end()
                idle = not self._due
                wait = _IDLE if idle else min(min(self._due.values()) - now, _LONGEST_WAIT)
                self._wakes = now + wait
                self._changed.wait(wait)
            self._alive = False


_watch = _Watch()


def _after_fork() -> None:
    """Begin anew in a forked child, which has neither the thread nor the calls that it watches."""
    global _watch
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
