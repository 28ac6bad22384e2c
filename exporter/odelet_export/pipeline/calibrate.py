"""The stage `calibrate`: the data are checked before anything is traced, and the steps are found before lowering."""

from __future__ import annotations

from dataclasses import dataclass

from odelet.artifact.card import Card
from odelet_export.calibration.calibrator import Calibrated, Calibrator, driven_copy, with_fallback
from odelet_export.calibration.data import calls_of
from odelet_export.calibration.settings import Calibration
from odelet_export.errors import FormError
from odelet_export.lowering.forms import FORMS
from odelet_export.lowering.lower import LoweredModel
from odelet_export.model.axes import Dynamic
from odelet_export.model.callee import Callee
from odelet_export.pipeline.keywords import keywords_of
from odelet_export.pipeline.prepare import Prepared
from odelet_export.pipeline.settings import ExportSettings


def check_calibration(settings: ExportSettings, callee: Callee, dynamic: Dynamic) -> None:
    """Raise FormError where the form and the calibration do not go together, and InputError for bad data."""
    data, form = settings.calibration, settings.form
    if form not in FORMS or not FORMS[form].needs_data:
        for name, keyword in keywords_of(Calibration).items():
            if getattr(data, keyword.field) != keyword.default:
                takers = " or ".join(other for other in FORMS if FORMS[other].needs_data)
                raise FormError(
                    f"{name} is for the form {takers}, and form={form!r}; leave it out, or ask for {takers}"
                )
        return
    if data.inputs is None:
        raise FormError(
            f"the form {form} finds its steps on calibration data, and there are none; give calibration=, a dict of "
            "arrays by input name (--calibration FILE.npz)"
        )
    if settings.solves.per_sample:
        raise FormError(
            f"per_sample gives each sample its own steps, and those of {form} are one grid for all; leave it out"
        )
    calls_of(data.inputs, callee, dynamic)


@dataclass(frozen=True)
class Calibrating:
    """The steps that were found. again: the same model in the form `driven`, which solves samples again that are out
    of tolerance; None without fallback."""

    calibrated: Calibrated
    again: LoweredModel | None

    @classmethod
    def of(cls, ready: Prepared) -> Calibrating:
        """Find steps for the solves of a captured model. Its graph stays as it is."""
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
        """The card and the model, with what solves samples again where that is asked for."""
        return (card, lowered) if self.again is None else with_fallback(card, lowered, self.again, self.calibrated)
