"""Runs the sample inputs of an artifact and compares the outputs with torch's, without torch.

The law here: this module needs numpy and onnxruntime alone, and the artifact, not the caller, says which error passes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from odelet.artifact.decode import Json
from odelet.artifact.samples import OutputCheck
from odelet.engine.opening import ONNX_RUNTIME
from odelet.errors import InputError
from odelet.model.engine_check import run_samples
from odelet.model.loading import load
from odelet.model.model import Model
from odelet.text import screen


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify`. checks: one for each output of each sample."""

    checks: tuple[OutputCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every output of every sample passed."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Json]:
        """Return the report as JSON types."""
        checks = [check.to_dict() for check in self.checks]
        return {"passed": self.passed, "checks": checks}

    def summary(self) -> str:
        """Return the report as text: a line for each output of each sample, and the verdict."""
        lines = [_line(check) for check in self.checks]
        failed = sum(not check.passed for check in self.checks)
        verdict = "passed" if self.passed else f"FAILED: {failed} of {len(self.checks)} outputs differ"
        return screen([*lines, verdict])


def verify(
    target: str | os.PathLike[str] | Model,
    *,
    device: str = "cpu",
    threads: int | str | None = None,
    memory: int | None = None,
    engine: str = ONNX_RUNTIME,
    library: str | os.PathLike[str] | None = None,
    deadline: float | None = None,
) -> VerifyReport:
    """Run the sample inputs that came with an artifact and compare the outputs with torch's.

    target: an artifact's folder, or a Model that was loaded from one; device, threads, memory, engine and library are
    then the model's, and else as for `odelet.load`. deadline: seconds for all samples together; None is no limit. An
    output that differs by more than the artifact allows is a report that has not passed. Raises ArtifactError when the
    artifact holds no samples that fit it, and SolveError, with the status DEADLINE, at the deadline.

    >>> import odelet
    >>> report = odelet.verify("out")
    >>> report.passed
    True
    """
    # An engine that was not tested is tried here, and reported.
    model = target
    if not isinstance(model, Model):
        model = load(
            model,
            device=device,
            threads=threads,
            memory=memory,
            engine=engine,
            library=library,
            try_engine=False,
        )
    if model.folder is None:
        raise InputError("a lone .onnx file carries no samples; verify the artifact's folder")
    return VerifyReport(tuple(run_samples(model, model.folder, deadline=deadline)))


def _line(check: OutputCheck) -> str:
    head = f"sample {check.sample}, {check.output}: {'ok' if check.passed else 'FAILED'}"
    if check.note:
        return f"{head}, {check.note}"
    errors = f"max abs {check.max_abs:.3g} (allowed {check.allowed:.3g}), max rel {check.max_rel:.3g}"
    return f"{head}, {errors}, worst at {list(check.worst)}"
