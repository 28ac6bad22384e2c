"""The three verdicts of a comparison with torch, at one sample and over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from odelet.artifact.samples import OutputCheck


class Verdict(StrEnum):
    """How an answer compares with torch's. The last is a failure."""

    AGREES = "agrees"
    AS_TORCH = "agrees as far as torch agrees with itself"
    DIFFERS = "differs"


@dataclass(frozen=True)
class SampleVerdict:
    """The result of comparing the outputs at one sample with torch's outputs.

    allowed: the largest error with which each output passes. base: the same, before the effect of rounding on torch is
    taken into account. scales: the largest element of each of torch's outputs. steady: whether torch itself gave the
    same answers when it ran again. same_steps: whether torch took the same steps when its inputs changed in their last
    places.
    """

    checks: Sequence[OutputCheck]
    allowed: Sequence[float]
    base: Sequence[float]
    scales: Sequence[float]
    steady: bool = True
    same_steps: bool = True

    @property
    def passed(self) -> bool:
        """Whether all outputs agree, be it as far as torch agrees with itself."""
        return all(check.passed for check in self.checks)

    @property
    def close(self) -> bool:
        """Whether all outputs agree before the effect of rounding on torch is taken into account."""
        return all(check.max_abs <= base for check, base in zip(self.checks, self.base, strict=True))
