"""The last part of an export: the artifact that was written, beside the torch model, and what is kept of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from odelet.artifact.card import Card
from odelet.model.model import load
from odelet_export.calibration.calibrator import Calibrated
from odelet_export.calibration.solvers import on_grid
from odelet_export.errors import ParityError
from odelet_export.model.reference import Solver
from odelet_export.pipeline.prepare import Prepared
from odelet_export.proof.judge import FreshSamples, Judge
from odelet_export.proof.parity import Comparison
from odelet_export.proof.report import Report, write_report
from odelet_export.targets.folder import with_files, write_card, write_samples

# More would make the artifact heavy and `verify` slow; the report has them all.
_BUNDLED_SAMPLES = 3
_BUNDLED_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Prover:
    """Compares what lies in a folder with the torch model, and writes what it found beside it.

    failed: where the folder will go if the answers differ. warnings: what to know.
    """

    ready: Prepared
    folder: Path
    failed: Path
    warnings: Sequence[str]

    def compared(self, card: Card, judge: Judge) -> Report:
        """The artifact beside torch. Raises CaptureError where it is the capture that is wrong."""
        write_card(card, self.folder)
        comparison = self._comparison(judge)
        report, compared = comparison.check(self.ready.drawn)
        if not report.passed:
            pairs = zip(compared, report.samples, strict=True)
            self.ready.check.check(sample for sample, check in pairs if not check.passed)
        return report

    def along_grids(self, card: Card, calibrated: Calibrated, drawn: Callable[[Judge], FreshSamples]) -> Report:
        """A bounded artifact beside the torch model on the same grids: the same answers, to rounding, whatever the
        inputs and whatever they are worth. What they are worth is said by `calibrated.trust`, and stands in the report.

        card: that of the straight line alone, and of what solves samples again, where there is such.
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
            good.append(judge.sample(number, tensors))
        report, _ = self._comparison(judge).check(drawn(judge), good)
        report = replace(report, trust=calibrated.trust)
        if card.fallback is not None:
            report = replace(report, fallback=self.compared(card.solved_again, ready.judge))
        return report

    def _comparison(self, judge: Judge) -> Comparison:
        captured = self.ready.captured
        return Comparison(load(self.folder), judge, captured.solve_count, captured.draw_count)

    def finish(self, card: Card, report: Report) -> Card:
        """Write the report, the samples and the final card; ParityError if the answers differ."""
        folder = self.folder
        card = with_files(replace(card, parity=report.card()), folder, write_samples(_bundle(report), folder))
        write_report(report, folder)
        write_card(card, folder)
        if report.passed:
            return card
        shown, more = report.problems[:3], len(report.problems) - 3
        raise ParityError(
            f"the exported model does not give torch's answers: {'; '.join(shown)}"
            f"{f'; and {more} more' if more > 0 else ''}. {_blame(report)}It was left in {self.failed}, see parity.md "
            "there" + "".join(f"\n  note: {warning}" for warning in self.warnings),
            report,
            str(self.failed),
        )


def _blame(report: Report) -> str:
    """Whose fault a difference is. The captured graph has been run at each sample that failed, and was right."""
    if all(sample.note for sample in report.samples if not sample.passed):
        return ""
    return (
        "What was captured gives them under torchdiffeq, so the fault is odelet's or ONNX Runtime's, not the model's: "
        "please report it. "
    )


def _bundle(report: Report) -> list[dict[str, Any]]:
    """The samples that go into the artifact: the smallest few of those that agree."""
    agreeing = [sample.arrays for sample in report.samples if sample.arrays]
    agreeing.sort(key=lambda arrays: sum(array.nbytes for array in arrays.values()))
    kept = agreeing[:_BUNDLED_SAMPLES]
    while len(kept) > 1 and sum(array.nbytes for arrays in kept for array in arrays.values()) > _BUNDLED_BYTES:
        kept.pop()
    return kept
