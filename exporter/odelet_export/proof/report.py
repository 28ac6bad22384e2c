"""The report of the comparison of an artifact with its torch model, as data, JSON and Markdown."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from odelet.artifact.samples import OutputCheck
from odelet_export.errors import output_errors
from odelet_export.model.reference import SolveCount
from odelet_export.proof.trust import Trust
from odelet_export.targets.replaceable import REPORT_JSON, REPORT_TEXT

# A solve can amplify rounding. An answer may then be as far off as torch's own answer moves in any of this many runs,
# when the inputs change by a few units in the last place. With some models, an adaptive solve in float32 takes another
# step in one run of five or ten, so four runs do not show it.
ROUNDING_RUNS = 16
ROUNDING_ULPS = 2.0
ROUNDING_FACTOR = 10.0
# An answer may also be twice as far off as torch's float32 answer is from its float64 answer, which shows such a step
# too.
OWN_ERRORS = 2.0


@dataclass(frozen=True)
class SolveCheck:
    """The counts of torchdiffeq and of odelet in one solve of one sample, None where the form cannot know a count."""

    index: int
    method: str
    torch: SolveCount
    steps: int | None
    accepted: int | None
    evaluations: int | None

    @property
    def equal(self) -> bool:
        """Whether the two agree in all counts that both know."""
        pairs = (
            (self.steps, self.torch.steps),
            (self.accepted, self.torch.accepted),
            (self.evaluations, self.torch.evaluations),
        )
        return all(ours is None or theirs is None or ours == theirs for ours, theirs in pairs)

    def to_dict(self) -> dict[str, Any]:
        """The counts as a dict of JSON types."""
        ours = {"steps": self.steps, "accepted": self.accepted, "evaluations": self.evaluations}
        return {
            "index": self.index,
            "method": self.method,
            "equal": self.equal,
            "odelet": ours,
            "torch": dict(self.torch.__dict__),
        }


@dataclass(frozen=True)
class SampleCheck:
    """The checks of one sample: the shapes of its inputs, the comparison of its outputs and solves, and further notes.

    arrays: the inputs, outputs and allowed errors, which `odelet verify` runs again.
    """

    shapes: dict[str, list[int]]
    outputs: list[OutputCheck]
    solves: list[SolveCheck]
    note: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def passed(self) -> bool:
        """Whether all outputs agree and there is no note."""
        return not self.note and all(check.passed for check in self.outputs)


@dataclass(frozen=True)
class Report:
    """The comparison of an artifact with its torch model.

    rtol, atol: an output passes when its largest error is at most atol + rtol times its largest element, or
    at most ROUNDING_FACTOR times the effect of rounding on torch. strict: whether the steps must be the same too, as
    they must in float64, unless rounding changes torch's own steps. trust: the measurements of a bounded artifact,
    whose samples are compared with the torch model on the same grid. fallback: the report of the artifact's fallback,
    if it has one.
    """

    rtol: float
    atol: float
    strict: bool
    samples: list[SampleCheck]
    trust: Trust | None = None
    fallback: Report | None = None

    @property
    def problems(self) -> list[str]:
        """A line about each check that failed: which output at which sample, and by how much."""
        lines = []
        for number, sample in enumerate(self.samples):
            at = f"sample {number}"
            for check in sample.outputs:
                if not check.passed:
                    lines.append(f"{at}, output {check.output!r}: {check.failure}")
            if sample.note:
                lines.append(f"{at}: {sample.note}")
        lines += [] if self.trust is None else self.trust.problems
        return lines + ([] if self.fallback is None else [f"fallback: {one}" for one in self.fallback.problems])

    @property
    def passed(self) -> bool:
        """Whether the list of problems is empty."""
        return not self.problems

    @property
    def max_abs(self) -> float:
        """The largest error of any output."""
        return max((check.max_abs for sample in self.samples for check in sample.outputs), default=0.0)

    @property
    def max_rel(self) -> float:
        """The largest error of any output, relative to that output's largest element."""
        return max((check.max_rel for sample in self.samples for check in sample.outputs), default=0.0)

    def card(self) -> dict[str, Any]:
        """The summary that goes into the card."""
        return {
            "passed": self.passed,
            "rtol": self.rtol,
            "atol": self.atol,
            "max_abs": _finite(self.max_abs),
            "max_rel": _finite(self.max_rel),
            "samples": len(self.samples),
            "same_steps": all(solve.equal for sample in self.samples for solve in sample.solves),
        }

    def to_json(self) -> str:
        """The whole report as text in JSON."""
        data = {
            **self.card(),
            "problems": self.problems,
            "checks": [
                {
                    "inputs": sample.shapes,
                    "outputs": [check.to_dict() for check in sample.outputs],
                    "solves": [solve.to_dict() for solve in sample.solves],
                    "note": sample.note,
                }
                for sample in self.samples
            ],
        }
        if self.trust is not None:
            data["calibration"] = self.trust.to_dict()
        if self.fallback is not None:
            data["fallback"] = json.loads(self.fallback.to_json())
        return json.dumps(data, indent=2, allow_nan=False)

    def to_markdown(self) -> str:
        """The whole report as text in Markdown."""
        verdict = "passed" if self.passed else "FAILED"
        lines = [
            f"# Parity with torch: {verdict}",
            "",
            "The artifact, run by odelet, beside the torch model, run by torchdiffeq. Sample 0 is the example that",
            "the model was exported with; the others are fresh inputs, drawn like it, with other batch sizes and,",
            "where the times are an input, other times."
            + (" The torch model was solved along the same grid." if self.trust is not None else ""),
            "",
            f"An output passes when its largest error is at most {self.atol:g} + {self.rtol:g} x its largest element.",
            f"Where that is exceeded: at most {ROUNDING_FACTOR:g} times what moving the inputs in their last places",
            f"does to torch's own answer ({ROUNDING_RUNS} runs), or {OWN_ERRORS:g} times what float32 does to it",
            "against float64. Steps must agree: "
            f"{'yes, unless rounding changes those of torch too' if self.strict else 'no, as this is float32'}.",
            "",
            "| sample | inputs | output | max abs error | allowed | max rel error | pass |",
            "|---|---|---|---|---|---|---|",
        ]
        for number, sample in enumerate(self.samples):
            shapes = ", ".join(f"{name} {shape}" for name, shape in sample.shapes.items())
            for check in sample.outputs:
                lines.append(
                    f"| {number} | {shapes} | {check.output} | {check.max_abs:.3g} | {check.allowed:.3g} "
                    f"| {check.max_rel:.3g} | {'yes' if check.passed else '**no**'} |"
                )
        lines += [
            "",
            "| sample | solve | method | steps | accepted | evaluations | torchdiffeq's | same |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for number, sample in enumerate(self.samples):
            for solve in sample.solves:
                theirs = f"{solve.torch.steps}, {solve.torch.accepted}, {solve.torch.evaluations}"
                lines.append(
                    f"| {number} | {solve.index} | {solve.method} | {solve.steps} | {solve.accepted} "
                    f"| {solve.evaluations} | {theirs} | {'yes' if solve.equal else 'no'} |"
                )
        lines += ["", *(f"- {problem}" for problem in self.problems)] if self.problems else []
        lines += [] if self.trust is None else self.trust.to_markdown()
        if self.fallback is not None:
            again = self.fallback.to_markdown().replace("# Parity", "# The fallback: parity", 1)
            lines += ["", again.rstrip()]
        return "\n".join(lines) + "\n"


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def write_report(report: Report, folder: Path) -> None:
    """Write the report as parity.json and parity.md into a folder."""
    with output_errors(Path(folder.name)):
        (folder / REPORT_JSON).write_text(report.to_json(), encoding="utf-8")
        (folder / REPORT_TEXT).write_text(report.to_markdown(), encoding="utf-8")
