"""What samples tell of a capture at sizes that its conditions leave out: whether it answers as the model there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Literal

import torch

from odelet_export.capture.sizes.conditions import SizeCondition
from odelet_export.proof.capture_check import CaptureCheck
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.sample_sizes import sizes_of

# Sizes beyond a condition, of which three are chosen to compare a capture with the model.
_NEAREST = 20
# The largest size that is tried, where the trace had no larger one; four times that of the trace otherwise.
_LARGEST = 16
# A search for sizes looks at no more than so many.
_MOST = 20_000

Sizes = Mapping[str, int]
Verdict = Literal["right", "wrong", "fails", "unknown"]


class SizeEvidence:
    """The evidence about one capture. check, judge: compare it with the model; torch runs once at each sample."""

    def __init__(self, check: CaptureCheck, judge: Judge) -> None:
        self.check, self._judge = check, judge
        self._generator = torch.Generator().manual_seed(judge.seed)

    def at(self, sizes: Sizes) -> Verdict:
        """Whether the capture answers as the model at some sizes, and whether the model runs there."""
        sample = self._sample(sizes)
        if sample is None:
            return "fails"
        return self.check.compare(sample).kind

    def runs(self, sizes: Sizes) -> bool:
        """Whether the model runs at some sizes."""
        return self._sample(sizes) is not None

    def right_without(self, condition: SizeCondition, others: Sequence[SizeCondition]) -> bool:
        """Whether the capture answers as the model wherever a condition does not hold and the others do."""
        return self.right_where(lambda sizes: not holds([condition], sizes) and holds(others, sizes), condition.labels)

    def right_where(self, wanted: Callable[[Sizes], bool], labels: Collection[str]) -> bool:
        """Whether the capture answers as the model at sizes of the wanted kind; False where there are none, and where
        the model fails at some of them. labels: the axes that differ from the trace."""
        found = list(islice(filter(wanted, self.near(labels)), _NEAREST))
        # The nearest, the farthest, and one between.
        chosen = [found[i] for i in sorted({0, len(found) // 2, len(found) - 1})] if found else []
        verdicts = {self.at(sizes) for sizes in chosen}
        return "right" in verdicts and verdicts <= {"right", "unknown"}

    def near(self, labels: Collection[str]) -> Iterator[dict[str, int]]:
        """Sizes of all axes, those nearest to the trace's first. labels: the axes that differ from it."""
        traced = self.check.traced_sizes
        changed = [label for label in traced if label in labels]
        pools = [_nearest(traced[label]) for label in changed]
        width = max(2, int(_MOST ** (1 / max(1, len(changed)))))
        rows = product(*(pool[:width] for pool in pools))
        for row in sorted(rows, key=lambda row: sum(pool.index(n) for pool, n in zip(pools, row, strict=True))):
            yield {**traced, **dict(zip(changed, row, strict=True))}

    @property
    def example_sizes(self) -> dict[str, int]:
        """The sizes of the example."""
        drawing = self.check.drawing
        return sizes_of(drawing.names, drawing.example, drawing.dynamic)

    def _sample(self, sizes: Sizes) -> Sample | None:
        for gently in (False, True):
            tensors = self.check.drawing.at(sizes, self._generator, gently=gently)
            try:
                return self._judge.sample(1, tensors)
            except Exception:  # the model may raise anything on inputs it was not made for
                continue
        return None


def _nearest(traced: int) -> list[int]:
    """Sizes of one axis, those nearest to its size in the trace first."""
    return sorted(range(2, 4 * max(traced, _LARGEST) + 1), key=lambda size: abs(size - traced))


def holds(conditions: Sequence[SizeCondition], sizes: Sizes) -> bool:
    """Whether all conditions hold for the sizes of the axes."""
    return all(condition.holds([sizes[label] for label in condition.labels]) for condition in conditions)
