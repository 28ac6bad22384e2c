"""Proves a model a second time in float64, where torch in float32 agrees with itself only roughly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from odelet.artifact.card import Card
from odelet.errors import AssumptionError
from odelet.model.loading import load
from odelet_export.model.callee import Callee
from odelet_export.model.time_limit import OutOfTime
from odelet_export.model.widening import widened, widened_model
from odelet_export.pipeline.prepare import Prepared, prepare
from odelet_export.proof.alone import batch_axes
from odelet_export.proof.capture_check import WrongCaptureError
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.parity import Comparison
from odelet_export.proof.report import Report, SampleCheck
from odelet_export.proof.rough import SecondProof
from odelet_export.targets.folder import write_card
from odelet_intercept.errors import CaptureError

# Writes the graphs of a captured model into a folder, and returns its card.
Write = Callable[[Prepared, Path], Card]


def second_proof(ready: Prepared, samples: Sequence[Sample], write: Write) -> SecondProof:
    """Export the model in float64, and compare it with torch in float64 at these samples. Nothing of it is kept.

    ready: the model as it was captured in fewer digits. The capture, the forms and the settings are the same, so that
    what float32 hides shows here: a wrong capture, or steps that are not torch's.
    """
    if not ready.judge.single:
        return SecondProof(impossible="the model is in float64 already")
    callee = widened_model(ready.judge.callee)
    if callee is None:
        return SecondProof(impossible="the model cannot be copied")
    callee.example = widened(callee.example)
    try:
        checks = _checks(ready, callee, samples, write)
    except WrongCaptureError as error:
        return SecondProof(problems=[" ".join(str(error).split())])
    except OutOfTime as error:
        return SecondProof(impossible=str(error))
    except Exception as error:  # code that was written for float32 may raise anything in float64
        return SecondProof(impossible=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}")
    if not checks:
        return SecondProof(impossible="an assumption does not hold there in float64")
    report = Report(0.0, 0.0, True, checks)
    return SecondProof(report.problems, report.max_rel)


def _checks(ready: Prepared, callee: Callee, samples: Sequence[Sample], write: Write) -> list[SampleCheck]:
    """The comparisons in float64 at the samples, without those at which an assumption does not hold."""
    wide = prepare(callee, ready.dynamic, ready.settings, tell=lambda stage: None, clock=ready.judge.clock)
    checks = []
    with TemporaryDirectory() as folder:
        card = write(wide, Path(folder))
        write_card(card, Path(folder))
        judge = wide.judge
        if ready.settings.solves.per_sample:
            judge = replace(judge, alone=batch_axes(wide.holes, wide.dynamic, callee, card, wide.captured))
        captured = wide.captured
        comparison = Comparison(load(folder), judge, captured.solve_count, captured.draw_count)
        for sample in samples:
            try:
                checks.append(comparison.at(_widened(sample, judge), sample.number))
            except AssumptionError:
                continue
    return checks


def _widened(sample: Sample, judge: Judge) -> Sample:
    """A sample in float64, with torch's answers there. judge: that of the model in float64."""
    tensors, noise = widened(sample.tensors), widened(sample.noise)
    try:
        expected, counts = judge.reference(tensors, noise, number=sample.number)
    except CaptureError:  # in float64 the steps of an SDE, whose times are summed up, may be one more or less
        return judge.sample(sample.number, tensors)
    return Sample(sample.number, tensors, noise, expected, counts)
