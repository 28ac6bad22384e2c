"""The measured accuracy of a bounded artifact, as data, JSON and Markdown. The law here: every number was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Every fifth sample is held back from the search, to measure the steps on data that they were not found on.
HELD_BACK = 5

QUANTILES = {"median": 0.5, "95 %": 0.95, "99 %": 0.99, "largest": 1.0}
# An answer whose error ratio is at most 1 may be off by this many tolerances: errors of steps add up.
FACTOR = 10.0
OFF = ("1", f"{FACTOR:g}", f"1 and {FACTOR:g} times torchdiffeq's")
SETS = {
    "calibration": "what the steps were found on",
    "held back": f"every {HELD_BACK}th sample, kept from that",
    "shifted": "the same with the inputs doubled",
}


@dataclass(frozen=True)
class BoundedErrors:
    """The errors of a solve on a set of samples, each an array (samples,).

    ratios: the reported error ratios. errors: the distance of the solution from the reference over the tolerance, the
    largest of all output times. torch: the same distance for torchdiffeq's own solution.
    """

    ratios: np.ndarray
    errors: np.ndarray
    torch: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[BoundedErrors]) -> BoundedErrors:
        """The errors of several sets of samples as one set."""
        names = ("ratios", "errors", "torch")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def fine(self) -> np.ndarray:
        """The mask (samples,) of the samples whose error ratio says that the answer is within the tolerance."""
        return self.ratios <= 1

    @property
    def off(self) -> dict[str, np.ndarray]:
        """The masks (samples,) of the samples whose error is too large, for each of the limits in OFF."""
        with np.errstate(invalid="ignore"):
            worse = ~(self.errors <= FACTOR * self.torch)
        above = ~(self.errors <= 1)
        return dict(zip(OFF, (above, ~(self.errors <= FACTOR), above & worse), strict=True))

    def to_dict(self) -> dict[str, Any]:
        return {
            "samples": len(self.ratios),
            "error_ratio": quantiles(self.ratios),
            "true_error": quantiles(self.errors),
            "torchdiffeq_true_error": quantiles(self.torch),
            "guarded": int(np.sum(~self.fine)),
            "true_error_above": {
                limit: {"samples": int(off.sum()), "said_fine": int((off & self.fine).sum())}
                for limit, off in self.off.items()
            },
        }


@dataclass(frozen=True)
class SolveTrust:
    """The measured errors of one solve. positions: the ends of the steps, (steps + 1,), from 0 to 1. sets: the errors
    on each set of samples, by name, in the order of SETS."""

    index: int
    method: str
    source: str
    evaluations: int
    positions: np.ndarray
    sets: dict[str, BoundedErrors]

    @property
    def problems(self) -> list[str]:
        """A list with one line if answers with an error ratio of at most 1 are further off than promised, else empty.

        FACTOR tolerances are promised, or FACTOR times the worst error of torchdiffeq's own answers.
        """
        one = self.sets["calibration"]
        allowed = FACTOR * max(1.0, float(np.max(one.torch, where=np.isfinite(one.torch), initial=0.0)))
        wrong = one.fine & ~(one.errors <= allowed)
        if not wrong.any():
            return []
        return [
            f"solve {self.index}: {int(wrong.sum())} of {len(wrong)} calibration samples are further from the "
            f"reference than {allowed:.3g} tolerances (the worst: {np.max(one.errors[wrong]):.3g}), and their "
            "error_ratio is at most 1"
        ]


@dataclass(frozen=True)
class Trust:
    """The measurements of a calibration.

    quantile: the share of samples that the steps were to keep within the tolerance. reference: a description of the
    reference. outputs: the largest error (samples,) of each output, by set of samples and name of the output.
    """

    quantile: float
    reference: str
    solves: Sequence[SolveTrust]
    outputs: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Lines about the solves whose answers are further off than promised."""
        return [problem for solve in self.solves for problem in solve.problems]

    @property
    def lines(self) -> list[str]:
        """A summary, one line for each solve."""
        lines = []
        for solve in self.solves:
            guarded = ", ".join(f"{int(np.sum(~x.fine))} of {len(x.fine)} {name}" for name, x in solve.sets.items())
            worst = max(float(np.max(solve.sets["calibration"].errors)), 0.0)
            lines.append(
                f"solve {solve.index}: {len(solve.positions) - 1} steps, {solve.evaluations} evaluations; above the "
                f"tolerance: {guarded}; true error at most {worst:.2g} tolerances"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The measurements as a dict of JSON types."""
        return {
            "quantile": self.quantile,
            "reference": self.reference,
            "solves": [
                {
                    "index": solve.index,
                    "method": solve.method,
                    "source": solve.source,
                    "steps": len(solve.positions) - 1,
                    "evaluations": solve.evaluations,
                    "positions": [float(x) for x in solve.positions],
                    "sets": {name: one.to_dict() for name, one in solve.sets.items()},
                }
                for solve in self.solves
            ],
            "output_errors": {
                set_name: {name: quantiles(errors) for name, errors in by_output.items()}
                for set_name, by_output in self.outputs.items()
            },
        }

    def to_markdown(self) -> list[str]:
        """The measurements as lines of Markdown."""
        lines = [
            "",
            "# Calibration",
            "",
            f"Steps were found on which {self.quantile:.4g} of the calibration samples stay within the tolerance.",
            "`error_ratio` is the largest estimated error of one step over the tolerance: an estimate of local errors.",
            "The true error is the distance from a reference, over the tolerance, the largest of all output times.",
            f"The reference: {self.reference}.",
            "",
            *(f"- {name}: {description}" for name, description in SETS.items()),
        ]
        for solve in self.solves:
            steps = len(solve.positions) - 1
            lines += [
                "",
                f"## Solve {solve.index}: {solve.method}, {steps} steps, {solve.evaluations} field evaluations "
                f"({solve.source})",
                "",
                f"| samples | of | {' | '.join(QUANTILES)} |",
                f"|---|---|{'---|' * len(QUANTILES)}",
            ]
            for name, one in solve.sets.items():
                rows = {"error_ratio": one.ratios, "true error": one.errors, "torchdiffeq's true error": one.torch}
                for label, values in rows.items():
                    cells = " | ".join(_number_text(x) for x in quantiles(values).values())
                    lines.append(f"| {name}, {len(values)} | {label} | {cells} |")
            heads = " | ".join(f"true error above {limit} | said to be fine" for limit in OFF)
            lines += ["", f"| samples | guarded | {heads} |", f"|---|---|{'---|---|' * len(OFF)}"]
            for name, one in solve.sets.items():
                counts = [(off.sum(), (off & one.fine).sum()) for off in one.off.values()]
                cells = " | ".join(f"{int(all_)} | {int(missed)}" for all_, missed in counts)
                lines.append(f"| {name}, {len(one.ratios)} | {int(np.sum(~one.fine))} | {cells} |")
        lines += ["", "## Errors of the outputs", "", f"| samples | output | {' | '.join(QUANTILES)} |"]
        lines.append(f"|---|---|{'---|' * len(QUANTILES)}")
        for set_name, by_output in self.outputs.items():
            for name, errors in by_output.items():
                lines.append(
                    f"| {set_name} | {name} | {' | '.join(_number_text(x) for x in quantiles(errors).values())} |"
                )
        return lines


def quantiles(values: np.ndarray) -> dict[str, float | None]:
    """The quantiles of numbers by name, each of them one of the numbers; None for a quantile that is not finite."""
    if not values.size:
        return {}
    numbers = {name: float(np.quantile(values, q, method="higher")) for name, q in QUANTILES.items()}
    return {name: x if math.isfinite(x) else None for name, x in numbers.items()}


def _number_text(x: float | None) -> str:
    return "not finite" if x is None else f"{x:.3g}"
