"""The stage `calibrate`: the steps of solves are found on data, before the solves are lowered."""

from __future__ import annotations

from dataclasses import dataclass

from odelet.artifact.card import Card
from odelet_export.calibration.calibrated import Calibrated
from odelet_export.calibration.calibrator import Calibrator
from odelet_export.calibration.fallback import driven_copy, with_fallback
from odelet_export.lowering.lower import LoweredModel
from odelet_export.pipeline.prepare import Prepared


@dataclass(frozen=True)
class Calibrating:
    """The calibrated steps of a model. again: the same model in the form `driven`, which solves samples again that are
    out of tolerance; None without fallback."""

    calibrated: Calibrated
    again: LoweredModel | None

    @classmethod
    def of(cls, ready: Prepared) -> Calibrating:
        """Find steps for the solves of a captured model. The model's graph stays as it is."""
        settings = ready.settings
        calibrated = Calibrator(
            ready.captured,
            ready.holes,
            ready.judge,
            ready.dynamic,
            settings.calibration,
            times={*ready.times, *settings.freeze},
            max_steps=settings.max_steps,
            opset=settings.opset,
        ).run()
        again = None
        if settings.calibration.fallback:
            again = driven_copy(ready.captured, ready.holes, max_steps=settings.max_steps)
        return cls(calibrated, again)

    def with_fallback(self, card: Card, lowered: LoweredModel) -> tuple[Card, LoweredModel]:
        """The card and the model, joined with the driven model that solves samples again where there is one."""
        return (card, lowered) if self.again is None else with_fallback(card, lowered, self.again, self.calibrated)
