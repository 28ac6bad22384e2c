"""The report of the comparison of an artifact with its torch model, as data and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from odelet.artifact.samples import OutputCheck
from odelet_export.model.reference import SolveCount
from odelet_export.proof.reduced import ReducedErrors
from odelet_export.proof.rough import Rough
from odelet_export.proof.trust import Trust
from odelet_export.proof.verdict import Verdict

# An allowance above this share of an output's largest element is said aloud, with its reason.
ROUGH = 0.01


@dataclass(frozen=True)
class SolveCheck:
    """The counts of torch's solver and of odelet in one solve of one sample, None where the form cannot know a count.

    noise: the kind of noise of an SDE, "" for another solve.
    """

    index: int
    method: str
    torch: SolveCount
    steps: int | None
    accepted: int | None
    evaluations: int | None
    noise: str = ""

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
            **({"noise": self.noise} if self.noise else {}),
            "equal": self.equal,
            "odelet": ours,
            "torch": dict(self.torch.__dict__),
        }


@dataclass(frozen=True)
class SampleCheck:
    """The checks of one sample: the shapes of its inputs, the comparison of its outputs and solves, and further notes.

    arrays: the inputs, outputs and allowed errors, which `odelet verify` runs again. base: the error that each output
    may have before the effect of rounding on torch is taken into account; empty where no outputs were compared.
    scales: the largest element of each of torch's outputs.
    """

    shapes: dict[str, list[int]]
    outputs: list[OutputCheck]
    solves: list[SolveCheck]
    note: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    base: Sequence[float] = ()
    scales: Sequence[float] = ()

    @property
    def passed(self) -> bool:
        """Whether all outputs agree and there is no note."""
        return not self.note and all(check.passed for check in self.outputs)

    @property
    def verdict(self) -> Verdict:
        """How the sample's outputs compare with torch's."""
        if not self.passed:
            return Verdict.DIFFERS
        pairs = zip(self.outputs, self.base, strict=True)
        return Verdict.AGREES if all(check.max_abs <= base for check, base in pairs) else Verdict.AS_TORCH

    @property
    def roughness(self) -> dict[str, float]:
        """By output, what the effect of rounding on torch allows, as a share of the output's largest element."""
        rows = zip(self.outputs, self.base, self.scales, strict=True)
        return {
            check.output: check.allowed / scale if scale else math.inf
            for check, base, scale in rows
            if check.allowed > base
        }


@dataclass(frozen=True)
class Report:
    """The comparison of an artifact with its torch model.

    rtol, atol: an output passes when its largest error is at most atol + rtol times its largest element, or
    at most ROUNDING_FACTOR times the effect of rounding on torch. strict: whether the steps must be the same too, as
    they must in float64, unless rounding changes torch's own steps. trust: the measurements of a bounded artifact,
    whose samples are compared with the torch model on the same grid. fallback: the report of the artifact's fallback,
    if it has one. wanted: how many fresh samples were to be compared. left_out: clauses about drawn inputs that were
    not compared. rough: why torch's own answers are uncertain, where the allowance is above ROUGH. skipped: a sentence
    about what the export left out on the user's wish, "" where it left out nothing.
    """

    rtol: float
    atol: float
    strict: bool
    samples: list[SampleCheck]
    trust: Trust | None = None
    fallback: Report | None = None
    wanted: int = 0
    left_out: Sequence[str] = ()
    rough: Rough | None = None
    skipped: str = ""
    reduced: ReducedErrors | None = None

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
        lines += [] if self.rough is None else self.rough.problems
        lines += [] if self.reduced is None else self.reduced.problems
        return lines + ([] if self.fallback is None else [f"fallback: {one}" for one in self.fallback.problems])

    @property
    def passed(self) -> bool:
        """Whether the list of problems is empty."""
        return not self.problems

    @property
    def verdict(self) -> Verdict:
        """The worst verdict on any sample."""
        if not self.passed:
            return Verdict.DIFFERS
        verdicts = {sample.verdict for sample in self.samples}
        return Verdict.AS_TORCH if Verdict.AS_TORCH in verdicts else Verdict.AGREES

    @property
    def roughness(self) -> float:
        """The largest allowance by rounding, as a share of the largest element of its output; 0 where none was made."""
        return max((share for sample in self.samples for share in sample.roughness.values()), default=0.0)

    @property
    def warnings(self) -> list[str]:
        """Sentences for the user: what was not compared, and where agreement means little."""
        lines = [] if self.rough is None else self.rough.warnings
        fresh = max(len(self.samples) - 1, 0)
        if fresh < self.wanted:
            why = "; ".join(self.left_out) or "no others could be drawn"
            lines = [*lines, f"{fresh} of {self.wanted} fresh samples were compared with torch; left out: {why}"]
        lines = [*lines, self.skipped] if self.skipped else lines
        return [*lines, *([] if self.fallback is None else self.fallback.warnings)]

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
            "verdict": str(self.verdict),
            "rtol": self.rtol,
            "atol": self.atol,
            "max_abs": _finite(self.max_abs),
            "max_rel": _finite(self.max_rel),
            "samples": len(self.samples),
            "same_steps": all(solve.equal for sample in self.samples for solve in sample.solves),
            **({} if self.rough is None else self.rough.card()),
            **({"skipped": self.skipped} if self.skipped else {}),
            **({} if self.reduced is None else self.reduced.card()),
        }

    def to_json(self) -> str:
        """The whole report as text in JSON."""
        data = {
            **self.card(),
            "problems": self.problems,
            "left_out": list(self.left_out),
            "checks": [
                {
                    "inputs": sample.shapes,
                    "outputs": [check.to_dict() for check in sample.outputs],
                    "solves": [solve.to_dict() for solve in sample.solves],
                    "note": sample.note,
                    "verdict": str(sample.verdict),
                }
                for sample in self.samples
            ],
        }
        if self.trust is not None:
            data["calibration"] = self.trust.to_dict()
        if self.fallback is not None:
            data["fallback"] = json.loads(self.fallback.to_json())
        return json.dumps(data, indent=2, allow_nan=False)


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
