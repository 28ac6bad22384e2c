"""The measured errors of a model whose weights are stored in fewer bits, as data, JSON and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from odelet.artifact.weights import INT8_PRODUCTS


@dataclass(frozen=True)
class MetricValues:
    """The user's metric of torch's outputs and of the artifact's. most: the largest change allowed, or None."""

    name: str
    torch: float
    artifact: float
    most: float | None

    @property
    def change(self) -> float:
        """How far the metric of the artifact is from that of torch."""
        return abs(self.artifact - self.torch)

    @property
    def passed(self) -> bool:
        """Whether the metric of the artifact is a number, and changed no more than is allowed."""
        return math.isfinite(self.artifact) and (self.most is None or self.change <= self.most)


@dataclass(frozen=True)
class ReducedErrors:
    """What storing weights in fewer bits did to an artifact.

    weights: one of `STORED`. max_error: the largest error allowed, relative to the largest element of an output.
    stored, products: how many weights are stored so, and how many products compute in int8. before, after: the bytes of
    these weights. exact: the largest relative error before, at the same samples. samples, errors: of the user's data,
    the number of samples, and for each output the largest error relative to its largest element. metric: of the data.
    """

    weights: str
    max_error: float
    stored: int
    products: int
    before: int
    after: int
    exact: float
    samples: int = 0
    errors: Mapping[str, float] | None = None
    metric: MetricValues | None = None

    @property
    def problems(self) -> list[str]:
        """A line for each output of the data, and for the metric, that differs by more than is allowed."""
        lines = [
            f"data, output {name!r}: error {error:.3g} of its largest element, allowed {self.max_error:g}"
            for name, error in (self.errors or {}).items()
            if not error <= self.max_error
        ]
        metric = self.metric
        if metric is not None and not metric.passed:
            most = "" if metric.most is None else f", and may change by {metric.most:g}"
            lines.append(f"the metric {metric.name} is {metric.artifact:g}, and {metric.torch:g} in torch{most}")
        return lines

    def card(self) -> dict[str, Any]:
        """The summary that goes into the card."""
        data: dict[str, Any] = {"max_error": self.max_error, "max_rel_before": self.exact}
        if self.errors is not None:
            data |= {"data_samples": self.samples, "data_max_rel": max(self.errors.values(), default=0.0)}
        if self.metric is not None:
            data |= {"metric": self.metric.artifact, "metric_of_torch": self.metric.torch}
        return {key: x if not isinstance(x, float) or math.isfinite(x) else None for key, x in data.items()}

    @property
    def lines(self) -> list[str]:
        """The measurements as sentences."""
        lines = [
            f"{self.stored} weights are stored as {self.weights}, in {self.after:,} bytes for {self.before:,}"
            + (f"; {self.products} products compute in int8" if self.weights == INT8_PRODUCTS else ""),
            f"before, the artifact gave torch's answers, to {self.exact:.2g} relative",
        ]
        if self.errors is not None:
            each = ", ".join(f"{name} {error:.2g}" for name, error in self.errors.items())
            lines.append(f"largest relative error on {self.samples} samples of the data: {each}")
        if self.metric is not None:
            lines.append(f"{self.metric.name}: {self.metric.artifact:.6g}, and {self.metric.torch:.6g} in torch")
        return lines

    def to_markdown(self) -> list[str]:
        """The measurements as lines of Markdown."""
        head = f"An output may differ from torch's by {self.max_error:g} of its largest element."
        return ["", "# Weights in fewer bits", "", head, "", *(f"- {line}" for line in self.lines)]
