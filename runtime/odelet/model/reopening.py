"""A model whose graphs are open with several numbers of threads at once.

The law here: graphs are opened again from the bytes that were checked at the load, and their weights are shared.
"""

from __future__ import annotations

from threading import RLock

from odelet.engine.opening import Artifact
from odelet.model.runner import Runner

# Runners whose threads stayed in the parent of this process: closing their sessions would wait for those threads.
_LEFT: list[Runner | None] = []


class ReopeningRunner(Runner):
    """The program of an artifact that is open with one thread, and runners of it with more.

    runners: by number of threads. lock: held by the call that opens one; who takes it stands within the guard of the
    artifact, so that a process that is forked meanwhile is refused, and does not wait.
    """

    def __init__(self, artifact: Artifact, *, device: str, interruptible: bool = False) -> None:
        super().__init__(artifact, device=device, interruptible=interruptible)
        self.runners: dict[int, Runner] = {}
        self.lock = RLock()

    def on(self, threads: int) -> Runner:
        """The runner with so many threads, opened at its first use, and again in a process that was forked."""
        if threads == self.artifact.threads:
            return self
        runner = self.runners.get(threads)
        if runner is None or runner.artifact.guard.refusal:
            with self._guard, self.lock:
                runner = self.runners.get(threads)
                if runner is None or runner.artifact.guard.refusal:
                    _LEFT.append(runner)
                    runner = self.runners[threads] = self.opened(threads)
        return runner

    def opened(self, threads: int) -> Runner:
        """A runner with so many threads."""
        assert self.artifact.reopened is not None
        again = self.artifact.reopened(threads)
        return Runner(again, device=self.device, interruptible=self.interruptible)
