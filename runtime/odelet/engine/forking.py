"""What a fork of the process leaves of a loaded model.

The law here: a call in a child process never waits for a thread that did not come along; it runs, or it is refused.
"""

from __future__ import annotations

import os
from weakref import WeakSet

from odelet.errors import ArtifactError

# One entry for each call that is running in this process. A list, as its append and pop are atomic and quick, and a
# counter's += is neither.
RUNNING: list[None] = []


class ForkGuard:
    """Stands around each call of a model. device, threads: of the model's sessions.

    refusal: why the model cannot be called in this process, which was forked; else empty. ONNX Runtime's locks and
    threads are the parent's. A model with one thread has only locks, which are free unless another thread was in a call
    at the time of the fork.
    """

    def __init__(self, *, device: str, threads: int) -> None:
        self._device, self._threads = device, threads
        self.refusal = ""
        _GUARDS.add(self)

    def __enter__(self) -> None:
        # `Runner.run` has these lines too, as a `with` costs several times as much.
        self.check()
        RUNNING.append(None)

    def __exit__(self, *_: object) -> None:
        if RUNNING:  # a child that was forked within a call began with none
            RUNNING.pop()

    def check(self) -> None:
        """Raise ArtifactError where the model did not survive a fork."""
        if self.refusal:
            raise ArtifactError(
                f"the model was loaded before this process was forked: {self.refusal}; load the model in the child "
                "process, or send it there with multiprocessing's start method 'spawn'"
            )

    def forked(self, *, busy: bool) -> None:
        """Note that this process is a child. busy: whether a call was running when it was forked."""
        if self._device != "cpu":
            self.refusal = f"device={self._device!r}, and what is on the device belongs to the parent process"
        elif self._threads > 1:
            self.refusal = f"threads={self._threads}, and the threads stayed in the parent process"
        elif busy:
            self.refusal = "a call of a model was running in the parent process, and its locks may stay locked"


_GUARDS: WeakSet[ForkGuard] = WeakSet()


def _forked() -> None:
    busy = bool(RUNNING)
    RUNNING.clear()
    for guard in _GUARDS:
        guard.forked(busy=busy)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
