"""The card entry of a solve: facts of the call, of the form, and of the solve as the form built it."""

from __future__ import annotations

from collections.abc import Mapping

from odelet.artifact.brownian_card import BrownianCard
from odelet.artifact.solve_card import Evaluations, SolveCard
from odelet_export.lowering.forms.form import Form, LoweredSolve
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.hole import Hole
from odelet_export.model.sde_spec import KEYS, MEMORY, NORMALS
from odelet_export.model.spec import SolveSpec


def solve_card(site: Site, form: Form, lowered: LoweredSolve, report: Mapping[str, str]) -> SolveCard:
    """The card entry of a solve. report: the graph outputs that hold the report, by their names in the card."""
    spec = site.hole.spec
    # Steps that the export fixes need no limit.
    limit = None if lowered.steps is not None else site.max_steps
    return SolveCard(
        index=spec.index,
        form=form.name,
        method=spec.method,
        source=spec.source,
        rtol=spec.rtol,
        atol=spec.atol,
        max_steps=limit if spec.chooses_steps else spec.max_iters,
        steps=_steps(site.hole, lowered),
        evaluations=_evaluations(spec, lowered),
        settings=dict(lowered.settings),
        report=dict(report),
        drive=lowered.drive,
        per_sample=spec.per_sample,
        nested=site.hole.nested,
        brownian=_brownian(site.hole, lowered, outside=form.runs_outside),
    )


def _steps(hole: Hole, lowered: LoweredSolve) -> int | None:
    """The number of steps, where it is fixed. The noise of an SDE fixes it even where the runtime takes the steps."""
    if lowered.steps is not None or hole.spec.sde is None or hole.spec.grid is None:
        return lowered.steps
    points = hole.grid.shape[0] if hole.grid is not None and hole.grid.shape is not None else None
    return points - 1 if isinstance(points, int) else hole.spec.grid.steps


def _brownian(hole: Hole, lowered: LoweredSolve, *, outside: bool) -> BrownianCard | None:
    """What the card says of the Brownian motion of an SDE. outside: whether the runtime takes the steps."""
    if hole.spec.sde is None:
        return None
    names = {name: str(value.name) for name, value in hole.extras.items()}
    solution = hole.solution[0] if outside else lowered.solution[0].ir
    return BrownianCard(
        noise=hole.spec.sde.noise,
        channels=hole.spec.sde.channels,
        inputs=tuple(x for name, x in names.items() if name.startswith(NORMALS) or name == KEYS),
        memory=tuple(x for name, x in names.items() if outside and name.startswith(MEMORY)),
        first_step=None if hole.spec.sde.least_step is None else hole.spec.sde.step_size,
        least_step=hole.spec.sde.least_step,
        times=_times(hole),
        solution=str(solution.name) if solution.is_graph_output() else None,
    )


def _times(hole: Hole) -> tuple[float, ...] | str | None:
    """The output times, where the export knows them, or the name of the input that gives them."""
    if hole.times is not None:
        return tuple(map(float, hole.times))
    return str(hole.t.name) if hole.t.is_graph_input() else None


def _evaluations(spec: SolveSpec, lowered: LoweredSolve) -> Evaluations | None:
    """The number of calls of the field, where it is fixed or follows from the number of steps; else None."""
    if lowered.evaluations is not None:
        return Evaluations(start=lowered.evaluations, step=0)
    if spec.timeless:
        return Evaluations(start=0, step=1)
    calls = spec.solver.evaluations
    if spec.adaptive:
        assert spec.control is not None and calls is not None
        estimated = spec.control.first_step is None and "first_step" not in spec.extras
        # Past each jump the solver evaluates the slope again, and the steps do not tell how many jumps there were.
        return None if "jump_t" in spec.extras else Evaluations(start=1 + estimated, step=calls)
    if calls is None or spec.grid is None or spec.grid.reads_cubics:
        return None
    return Evaluations(start=0, step=calls)
