"""The result of a calibration, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from odelet_export.calibration.data import Inputs
from odelet_export.lowering.hole import Hole, Placed
from odelet_export.proof.trust import Trust


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    placed: the steps of the solves, by index. samples: the name of the axis that counts samples, or None. trust: the
    measured errors. good: a few calls of calibration samples that are well within the tolerance. mixing: whether the
    samples of a batch change each other's outputs.
    """

    placed: Mapping[int, Placed]
    samples: str | None
    trust: Trust
    good: Sequence[Inputs]
    mixing: bool

    def holes(self, holes: Sequence[Hole]) -> list[Hole]:
        """The holes, with steps for those that were calibrated."""
        return [replace(hole, placed=self.placed.get(hole.spec.index)) for hole in holes]
