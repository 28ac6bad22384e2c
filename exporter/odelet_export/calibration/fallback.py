"""The model in the form `driven`, which runs to find grids, and solves again the samples that a grid does not suit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from odelet.artifact.card import Card, FallbackCard
from odelet.engine.fallback import sample_axes
from odelet.errors import ArtifactError
from odelet_export.calibration.calibrated import Calibrated
from odelet_export.capture.captured import Captured
from odelet_export.errors import FormError
from odelet_export.lowering.forms.driven import DRIVEN
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.lift import lift
from odelet_export.lowering.lower import LoweredModel, lower


def driven_copy(captured: Captured, holes: Sequence[Hole], *, max_steps: int) -> LoweredModel:
    """The model in the form `driven`. captured: not lowered yet; its graph stays as it is."""
    again = replace(captured, model=captured.model.clone())
    notes = {hole.spec.mark: hole.nested for hole in holes}
    return lower(again, lift(again, notes), DRIVEN.name, max_steps=max_steps, keep_debug_info=False)


def with_fallback(
    card: Card, lowered: LoweredModel, again: LoweredModel, calibrated: Calibrated
) -> tuple[Card, LoweredModel]:
    """The card and the graphs of a bounded model, joined with those of the driven model that solves samples again.

    Raises FormError where samples cannot be solved alone.
    """
    again_card = FallbackCard(axis=calibrated.samples, program=tuple(again.program), solves=tuple(again.solves))
    card = replace(card, fallback=again_card)
    try:
        sample_axes(card)
    except ArtifactError as error:
        raise FormError(f"fallback=True: {error}; leave fallback out") from None
    if calibrated.mixing:
        raise FormError(
            "fallback=True solves samples again one by one, and in this model the samples of a batch change each "
            "other's outputs; leave fallback out"
        )
    return card, replace(lowered, graphs={**lowered.graphs, **again.graphs})
