"""Chooses what runs the calls of a model, by how its number of threads is found.

The law here: nothing runs here; the runners are in modules of their own.
"""

from __future__ import annotations

from odelet.engine.opening import Artifact
from odelet.engine.session import MEASURED
from odelet.model.measured_threads import MeasuredRunner
from odelet.model.runner import Runner
from odelet.model.threads_by_work import WorkRunner


def runner_of(artifact: Artifact, *, threads: int | str | None, device: str, interruptible: bool) -> Runner:
    """The runner of an open artifact. The arguments are those of `odelet.load`."""
    kind = Runner if artifact.reopened is None else MeasuredRunner if threads == MEASURED else WorkRunner
    return kind(artifact, device=device, interruptible=interruptible)
