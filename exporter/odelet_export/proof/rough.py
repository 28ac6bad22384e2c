"""Where torch agrees with itself only roughly: how roughly, why, what to do, and what float64 shows of the artifact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cause:
    """A reason why rounding moves torch's own answer so far. why: a clause. advice: what the user can do, a clause."""

    why: str
    advice: str


@dataclass(frozen=True)
class SecondProof:
    """The comparison of the same model in float64, where steps must agree.

    problems: a line about each check that failed. max_rel: the largest error, relative to the output's largest element.
    impossible: why there was no such comparison, or "".
    """

    problems: Sequence[str] = ()
    max_rel: float = math.nan
    impossible: str = ""

    @property
    def text(self) -> str:
        """The result, as a sentence."""
        if self.impossible:
            return f"A proof in float64 was not possible: {self.impossible}."
        if self.problems:
            return "In float64 the exported model differs from torch."
        return f"In float64 it takes torch's steps and differs from torch by at most {self.max_rel:.2g} (relative)."


@dataclass(frozen=True)
class Rough:
    """An output that torch itself gives only roughly.

    sample, output: where the allowance is largest. share: the allowance there, as a share of the output's largest
    element. error: the error of the artifact there, as such a share.
    """

    sample: int
    output: str
    share: float
    error: float
    causes: Sequence[Cause]
    second: SecondProof

    @property
    def problems(self) -> list[str]:
        """A line about each check that failed in float64."""
        return [f"in float64, {problem}" for problem in self.second.problems]

    @property
    def warnings(self) -> list[str]:
        """The facts in a few sentences, and what to do."""
        why = "; and ".join(cause.why for cause in self.causes)
        advice = "; or ".join(dict.fromkeys(cause.advice for cause in self.causes))
        return [
            f"torch agrees with itself only roughly: at sample {self.sample}, rounding moves its output "
            f"{self.output!r} so far that an error of {_percent(self.share)} of the largest element passes (the "
            f"artifact's is {_percent(self.error)}), as {why}. {self.second.text} To do: {advice}"
        ]

    def card(self) -> dict[str, Any]:
        """What the card says of it."""
        return {
            "allowance": self.share if math.isfinite(self.share) else None,
            "why": "; ".join(cause.why for cause in self.causes),
            "advice": "; ".join(dict.fromkeys(cause.advice for cause in self.causes)),
            "float64": self.second.text,
        }


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if math.isfinite(share) and share < 10 else f"{share:.2g} times"
