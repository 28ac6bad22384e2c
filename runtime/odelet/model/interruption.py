"""Calls that Ctrl-C ends: the work is done by another thread, while the main thread waits for it and for signals.

Python runs the handler of a signal only in the main thread, and only when no foreign code runs there, such as a graph.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

from odelet.engine.ending import Ending

Result = TypeVar("Result")

# On Windows a wait without an end cannot be interrupted; it is therefore made of waits that long, in seconds.
_LOOK = 0.1
# A graph ends after the operator that it is at. Nobody waits longer than this for it, in seconds.
_PATIENCE = 0.5

_left: list[threading.Thread] = []


def interruptible(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, or raise what it raises; a signal whose handler raises ends its graphs.

    The work then ends soon, and what the handler raised goes on to the caller: KeyboardInterrupt, after Ctrl-C. In
    another thread than the main one there are no signals to wait for, and the work is done there at once. So it is
    inside the event loop of asyncio, unless Ctrl-C raises there too, as in a notebook.
    """
    if not _handlers_raise():
        return work()
    ending, done = Ending(), threading.Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with ending.running():
                results.append(work())
        except BaseException as error:  # the caller gets it, whatever it is
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=copy_context().run, args=(run,), name="odelet call")
    try:
        thread.start()
        while not done.wait(_LOOK):
            pass
    except BaseException:
        ending.end(interrupted=True)
        _left[:] = [*(one for one in _left if one.is_alive()), thread]
        done.wait(_PATIENCE)
        raise
    try:
        if errors:
            raise errors[0]
        return results[0]
    finally:
        errors.clear()  # the error holds this frame, which would hold the error


def is_work_left() -> bool:
    """Whether work that was interrupted is still at an operator, so that the process cannot exit in order."""
    return any(thread.is_alive() for thread in _left)


def _handlers_raise() -> bool:
    """Whether what a signal's handler raises comes out of the code that runs in this thread."""
    if threading.current_thread() is not threading.main_thread():
        return False
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
