"""What the card says of a lowered solve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from odelet.artifact.solve_card import DriveCard, Evaluations, EventCard, SolveCard
from odelet_export.lowering.forms.site import LoweredSolve
from odelet_export.lowering.hole import Hole
from odelet_export.model.spec import SolveSpec


def _card(
    hole: Hole,
    form: str,
    settings: Mapping[str, str | None],
    max_steps: int,
    *,
    lowered: LoweredSolve | None = None,
    report: dict[str, str] | None = None,
    drive: DriveCard | None = None,
) -> SolveCard:
    spec = hole.spec
    return SolveCard(
        index=spec.index,
        form=form,
        method=spec.method,
        source=spec.source,
        rtol=spec.rtol,
        atol=spec.atol,
        max_steps=None if form == "bounded" else max_steps if spec.adaptive else spec.max_iters,
        steps=None if lowered is None else lowered.steps,
        evaluations=_evaluations(spec, lowered),
        settings=dict(settings),
        report=report or {},
        drive=drive,
        per_sample=spec.per_sample,
        nested=hole.nested,
    )


def _evaluations(spec: SolveSpec, lowered: LoweredSolve | None) -> Evaluations | None:
    """How often the solve calls the field, where it follows from its steps or is fixed."""
    if lowered is not None and lowered.evaluations is not None:
        return Evaluations(start=lowered.evaluations, step=0)
    if spec.timeless:
        return Evaluations(start=0, step=1)
    if spec.adaptive:
        assert spec.control is not None and spec.solver.evaluations is not None
        estimated = spec.control.first_step is None
        # A jump asks for one more slope each time, which the steps do not tell.
        known = "jump_t" not in spec.extras
        return Evaluations(start=1 + estimated, step=spec.solver.evaluations) if known else None
    calls = spec.solver.evaluations
    if calls is None or spec.grid is None or spec.grid.reads_cubics:
        return None
    return Evaluations(start=0, step=calls)


def _event_card(hole: Hole, file: str | None) -> EventCard | None:
    if file is None or hole.event_time is None:
        return None
    return EventCard(graph=file, time=str(hole.event_time.name))


def _batched(hole: Hole, captured: Sequence[ir.Value]) -> tuple[str, ...] | None:
    """The captured values that have a row for each sample; None where their sizes do not say which have."""
    samples = hole.y0[0].shape[0] if hole.y0[0].shape is not None else None
    if isinstance(samples, int) or samples is None or samples.value is None:
        return None
    found = []
    for value in captured:
        dims = list(value.shape) if value.shape is not None else None
        names = [] if dims is None else [dim.value for dim in dims if isinstance(dim, ir.SymbolicDim)]
        others = [name for name in names if name is None or (name != samples.value and samples.value in name)]
        if dims is None or others or samples.value in names[1:]:
            return None
        if dims and isinstance(dims[0], ir.SymbolicDim) and dims[0].value == samples.value:
            found.append(str(value.name))
        elif samples.value in names:
            return None
    return tuple(found)
