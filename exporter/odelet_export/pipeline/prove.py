"""The last stage of an export: it compares the artifact with the torch model, and writes the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odelet.artifact.card import Card
from odelet.model.loading import load
from odelet_export.calibration.calibrated import Calibrated
from odelet_export.calibration.solvers import on_grid
from odelet_export.errors import ParityError
from odelet_export.lowering.profiles import GENERAL
from odelet_export.model.reference import Solver
from odelet_export.model.time_limit import OutOfTime
from odelet_export.pipeline.prepare import Prepared, fresh_samples
from odelet_export.pipeline.quick import LEFT_OUT
from odelet_export.pipeline.second_proof import Write, second_proof
from odelet_export.proof.alone import batch_axes
from odelet_export.proof.causes import causes
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.parity import Comparison
from odelet_export.proof.report import ROUGH, Report, SampleCheck
from odelet_export.proof.report_text import write_report
from odelet_export.proof.rough import Rough, SecondProof
from odelet_export.targets.folder import with_files, write_card, write_samples

# More samples would make the artifact heavy and `verify` slow; the report has all of them.
_BUNDLED_SAMPLES = 3
_BUNDLED_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Prover:
    """Compares the artifact in a folder with the torch model, and writes the report beside the artifact.

    ready: the captured model. folder: the folder of the artifact. failed: the folder to which it moves if the answers
    differ. warnings: sentences that the message of a failure repeats. write: writes the graphs of a captured model, for
    a second proof.
    """

    ready: Prepared
    folder: Path
    failed: Path
    warnings: Sequence[str]
    write: Write

    def report(self, card: Card, calibrated: Calibrated | None) -> Report:
        """The report of the comparison with torch; a model with calibrated steps is compared on the same grids.

        Raises CaptureError where the capture is wrong, FormError where samples cannot be told apart for `per_sample`.
        """
        ready = self.ready
        alone = None
        if calibrated is None and ready.settings.solves.per_sample:
            alone = batch_axes(ready.holes, ready.dynamic, ready.judge.callee, card, ready.captured)
        report = (
            self._compared(card, replace(ready.judge, alone=alone))
            if calibrated is None
            else self._along_grids(card, calibrated)
        )
        return replace(report, skipped=LEFT_OUT) if ready.settings.proof.quick else report

    def _compared(self, card: Card, judge: Judge) -> Report:
        """The report of the artifact compared with torch."""
        write_card(card, self.folder)
        report, compared = self._comparison(judge).check(self.ready.drawn)
        if not report.passed:
            pairs = zip(compared, report.samples, strict=True)
            self.ready.check.check(sample for sample, check in pairs if not check.passed)
            return report
        report = replace(report, rough=self._rough(judge, report, compared))
        return report if self.ready.settings.profile == GENERAL.name else _for_other_engines(judge, report, compared)

    def _rough(self, judge: Judge, report: Report, compared: Sequence[Sample]) -> Rough | None:
        """Why torch agrees with itself only roughly, and a second proof in float64; None where it agrees well."""
        if judge.tolerance is not None or report.roughness <= ROUGH:
            return None
        rows = [
            (share, output, number)
            for number, check in enumerate(report.samples)
            for output, share in check.roughness.items()
            if share > ROUGH
        ]
        share, output, number = max(rows)
        error = next(check.max_rel for check in report.samples[number].outputs if check.output == output)
        if self.ready.settings.proof.quick:
            second = SecondProof(impossible="quick leaves it out")
        elif self.ready.settings.calibration.inputs is None:
            second = second_proof(self.ready, [compared[i] for i in sorted({i for _, _, i in rows})], self.write)
        else:
            second = SecondProof(impossible="the fallback of a bounded artifact has no files of its own")
        return Rough(number, output, share, error, causes(judge, compared[number]), second)

    def _along_grids(self, card: Card, calibrated: Calibrated) -> Report:
        """The report of a bounded artifact compared with the torch model on the same grids. The answers are the same up
        to rounding, for any inputs, however large the error of the grid is. `calibrated.trust` measures that error, and
        is part of the report.

        card: the card with the fallback, if there is one; the graph without fallback and the fallback are compared
        separately.
        """
        write_card(replace(card, fallback=None), self.folder)
        ready = self.ready
        solvers: dict[int, Solver] = {
            spec.call: on_grid(spec, calibrated.placed[spec.index])
            for spec in ready.captured.specs
            if spec.index in calibrated.placed
        }
        judge = replace(ready.judge, instead=solvers)
        good = []
        for number, call in enumerate(calibrated.good):
            tensors = [torch.from_numpy(call[name].copy()) for name in judge.callee.names]
            with suppress(OutOfTime):
                good.append(judge.sample(number, tensors))
        drawn = fresh_samples(judge, ready.check, ready.settings)
        report, _ = self._comparison(judge).check(drawn, good)
        report = replace(report, trust=calibrated.trust)
        if card.fallback is not None:
            report = replace(report, fallback=self._compared(card.solved_again, ready.judge))
        return report

    def _comparison(self, judge: Judge) -> Comparison:
        captured = self.ready.captured
        return Comparison(load(self.folder), judge, captured.solve_count, captured.draw_count)

    def finish(self, card: Card, report: Report) -> Card:
        """Write the report, the samples and the final card; return the card. Raises ParityError if answers differ."""
        folder = self.folder
        card = with_files(replace(card, parity=report.card()), folder, write_samples(_bundle(report), folder))
        write_report(report, folder)
        write_card(card, folder)
        if report.passed:
            return card
        shown, more = report.problems[:3], len(report.problems) - 3
        raise ParityError(
            f"{_what(report)}: {'; '.join(shown)}"
            f"{f'; and {more} more' if more > 0 else ''}. {_blame(report)}It was left in {self.failed}, see parity.md "
            "there" + "".join(f"\n  note: {warning}" for warning in self.warnings),
            report,
            str(self.failed),
        )


def _for_other_engines(judge: Judge, report: Report, compared: Sequence[Sample]) -> Report:
    """The report whose samples for the artifact allow what rounding does to torch, as other engines round otherwise
    than the ONNX Runtime that was compared here. With it, a step of an adaptive solve may end elsewhere."""
    if not any(spec.adaptive for spec in judge.specs):
        return report
    bundled = _bundled(report.samples)
    samples = []
    for check, sample in zip(report.samples, compared, strict=True):
        if any(check is one for one in bundled):
            allowed = judge.allowed_anywhere(judge.solved_alone(sample))
            errors = {f"allowed/{one.output}": np.asarray(x) for one, x in zip(check.outputs, allowed, strict=True)}
            check = replace(check, arrays={**check.arrays, **errors})
        samples.append(check)
    return replace(report, samples=samples)


def _what(report: Report) -> str:
    """The beginning of the message about answers that differ."""
    if report.reduced is None:
        return "the exported model does not give torch's answers"
    return f"with its weights stored as {report.reduced.weights}, the model's answers are too far from torch's"


def _blame(report: Report) -> str:
    """A sentence that names the cause of a difference. The captured graph was right at each failed sample."""
    if report.reduced is not None:
        return (
            f"With its weights as they are, the artifact gave torch's answers, to {report.reduced.exact:.2g} relative: "
            "allow more, store the weights in more bits, or leave weights (--weights-as) out. "
        )
    if all(sample.note for sample in report.samples if not sample.passed):
        return ""
    return (
        "What was captured gives them under torchdiffeq, so the fault is odelet's or ONNX Runtime's, not the model's: "
        "please report it. "
    )


def _bundle(report: Report) -> list[dict[str, Any]]:
    """The arrays of the samples that go into the artifact."""
    return [sample.arrays for sample in _bundled(report.samples)]


def _bundled(samples: Sequence[SampleCheck]) -> list[SampleCheck]:
    """The samples that go into the artifact: the smallest few among those that agree."""

    def size(*several: SampleCheck) -> int:
        return sum(array.nbytes for sample in several for array in sample.arrays.values())

    bundled = sorted((sample for sample in samples if sample.arrays), key=size)[:_BUNDLED_SAMPLES]
    while len(bundled) > 1 and size(*bundled) > _BUNDLED_BYTES:
        bundled.pop()
    return bundled
