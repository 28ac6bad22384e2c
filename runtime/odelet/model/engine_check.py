"""Runs the samples of an artifact, and with them tries an ONNX Runtime that odelet was not tested with.

The law here: torch's answers lie in the artifact, and an engine that does not give them answers nothing.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from threading import Lock
from typing import Protocol

import onnxruntime as ort

from odelet.artifact.card import Card
from odelet.artifact.folder import SAMPLES_FILE
from odelet.artifact.samples import OutputCheck, compare, samples_of
from odelet.engine.versions import tested
from odelet.errors import ArtifactError, EngineError, InputError, SolveError
from odelet.loops.solution import Solution
from odelet.model.arguments import Argument
from odelet.model.settings import AS_EXPORTED, CallSettings
from odelet.model.time_limit import within
from odelet.status import Status


class Sampled(Protocol):
    """What is needed of a model to run its samples."""

    @property
    def card(self) -> Card: ...

    @property
    def folder(self) -> Path | None: ...

    def solve_with(
        self, settings: CallSettings, args: tuple[Argument, ...], named: dict[str, Argument]
    ) -> Solution: ...


# What was tried in this process and was right: the version, the device, and the hashes of the artifact's files.
_tried: set[tuple[str, str, frozenset[str]]] = set()
_lock = Lock()


def try_engine(model: Sampled, *, device: str, deadline: float | None = None) -> None:
    """Run the samples of a model if the installed ONNX Runtime is none that odelet was tested with.

    This happens once in a process for an artifact and a device. deadline: seconds for all samples together; None is no
    limit. Raises EngineError where an output is not torch's, and where the trial was ended at the deadline. A
    RuntimeWarning says so where there are no samples to try.
    """
    if tested():
        return
    key = (ort.__version__, device, frozenset(entry.sha256 for entry in model.card.files.values()))
    with _lock:
        if model.card.files and key in _tried:
            return
    what = f"onnxruntime {ort.__version__} is none that odelet was tested with"
    if model.folder is None or SAMPLES_FILE not in model.card.files:
        warnings.warn(
            f"{what}, and {model.card.name} was loaded without samples to try it on; load the artifact's folder, or "
            "compare an answer with torch's",
            RuntimeWarning,
            stacklevel=4,
        )
        return
    try:
        checks = run_samples(model, model.folder, deadline=deadline)
    except SolveError as error:
        raise EngineError(
            f"{what}, and the trial of {model.card.name} with it did not end in {deadline} s ({error}); load it with a "
            "longer deadline, or with try_engine=False if you trust the engine"
        ) from None
    for check in checks:
        if not check.passed:
            raise EngineError(
                f"{what}, and with it {model.card.name} does not give torch's answers (sample {check.sample}, "
                f"{check.output}: {check.failure}); install a version that was tested, or see `odelet verify`"
            )
    with _lock:
        _tried.add(key)


def run_samples(model: Sampled, folder: Path, *, deadline: float | None = None) -> list[OutputCheck]:
    """Return the comparison of each output of each sample with torch's.

    deadline: seconds for all samples together; None is no limit. Raises ArtifactError when the artifact holds no
    samples that fit it, and SolveError at the deadline.
    """
    with within(deadline, what="the run of the samples"):
        return _compared(model, folder)


def _compared(model: Sampled, folder: Path) -> list[OutputCheck]:
    checks: list[OutputCheck] = []
    for index, (inputs, outputs, allowed) in enumerate(samples_of(model.card, folder)):
        try:
            solution = model.solve_with(AS_EXPORTED, (), dict(inputs))
        except InputError as error:
            raise ArtifactError(f"{SAMPLES_FILE}: sample {index} does not fit the card: {error}") from None
        if solution.status is not Status.OK:
            note = f"a solve failed: {solution.status.sentence}"
            checks += [OutputCheck(index, name, False, note=note) for name in outputs]
            continue
        checks += [
            compare(index, name, solution.outputs[name], expected, allowed=allowed[name])
            for name, expected in outputs.items()
        ]
    return checks
