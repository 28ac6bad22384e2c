"""Lower: fill each hole of a host graph with a solver, or cut the host at the holes for the driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir
from onnx_ir import convenience

from odelet.artifact.program_steps import DriveStep, ProgramStep, RunStep, files_of
from odelet.artifact.solve_card import MIXED, PLAIN, SolveCard
from odelet_export.capture.captured import Captured
from odelet_export.graphs.guards import add_guards
from odelet_export.graphs.inside_loops import store_inside_loops
from odelet_export.graphs.scope import Scope
from odelet_export.graphs.tidy import tidy
from odelet_export.lowering.choose import Choice, choose
from odelet_export.lowering.division import divide
from odelet_export.lowering.drives import place_drives, rename_crossing_values
from odelet_export.lowering.field_copy import field_card
from odelet_export.lowering.forms.form import LoweredSolve
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.profiles import GENERAL, Profile
from odelet_export.lowering.solve_card import solve_card

MODEL = "model.onnx"


@dataclass(frozen=True)
class LoweredModel:
    """A model as graphs. graphs: the graphs by file name. program: the order in which they run. solves: the card
    entries of the solves."""

    graphs: dict[str, ir.Model]
    program: Sequence[ProgramStep]
    solves: list[SolveCard]

    @property
    def form(self) -> str:
        """The name of the one form that all solves have, or MIXED; a model without a solve is plain."""
        forms = {solve.form for solve in self.solves} or {PLAIN.name}
        return forms.pop() if len(forms) == 1 else MIXED


@dataclass(frozen=True)
class _FilledHole:
    """A hole, the lowered solve that fills it, and the solve's entry in the card."""

    hole: Hole
    lowered: LoweredSolve
    card: SolveCard


def lower(
    captured: Captured,
    holes: Sequence[Hole],
    form: str,
    *,
    max_steps: int,
    keep_debug_info: bool,
    profile: Profile = GENERAL,
    ahead: bool = False,
    weights_inside: bool = False,
) -> LoweredModel:
    """Choose a form for every solve and build the graphs. Raises FormError for a form that no solve can have.

    holes: the solves of `captured`, lifted. form: the name of a form, or "auto". profile: what the graphs may use.
    ahead: whether what a field computes without the state may be computed for all steps at once. weights_inside:
    whether the bodies of loops store the weights of their convolutions, which may be stored twice then.
    """
    choices = forms_of(captured, holes, form, max_steps=max_steps, profile=profile, ahead=ahead)
    host = captured.model
    outside = any(choice.form.runs_outside for choice in choices)
    if outside:
        rename_crossing_values(host.graph, holes)
    filled = _fill_holes(host.graph, choices)
    host.graph.sort()  # a grid may be computed from the result of an earlier solve
    # The host is divided after all solves are built: the end of a graph depends on all solves that run outside it, so
    # no form can divide it for its own solve. `choose` makes sure that all solves run outside, or none.
    graphs: dict[str, ir.Model] = {MODEL: host}
    program: Sequence[ProgramStep] = [RunStep(run=MODEL)]
    if outside:
        graphs, program = _divided_at_drives(host, filled)
    elif any(choice.form.loops_outside for choice in choices) or not profile.loops:
        tidy(host, keep_debug_info=keep_debug_info)
        graphs, program = divide(host, loops=True)
    for model in graphs.values():
        add_guards(model)
        tidy(model, keep_debug_info=keep_debug_info)
        if weights_inside:
            store_inside_loops(model)
    copies = [field_card(x.hole, [v.ir for v in x.lowered.solution], x.card.drive, graphs) for x in filled]
    return LoweredModel(graphs, program, [replace(x.card, piece=copy) for x, copy in zip(filled, copies, strict=True)])


def forms_of(
    captured: Captured,
    holes: Sequence[Hole],
    form: str,
    *,
    max_steps: int,
    profile: Profile = GENERAL,
    ahead: bool = False,
) -> list[Choice]:
    """Choose a form for every solve, as `lower` does. The host graph gets nodes for the values that the solves read."""
    scope = Scope.of(captured.model.graph)
    alone = sum(hole.spec.adaptive or hole.spec.timeless for hole in holes) == 1
    names = [_setting_names(hole, alone=alone) for hole in holes]
    static = not profile.dynamic
    sites = [
        Site.of(hole, scope, max_steps, name, static=static, ahead=ahead)
        for hole, name in zip(holes, names, strict=True)
    ]
    return choose(sites, form, profile)


def _setting_names(hole: Hole, *, alone: bool) -> dict[str, str]:
    """The names of the graph inputs for the settings that a caller may change, by setting. alone: whether the solve is
    the only one; else the names hold the solve's number."""
    return {key: key if alone else f"{key}_{hole.spec.index}" for key in ("rtol", "atol", "max_steps")}


def _fill_holes(graph: ir.Graph, choices: Sequence[Choice]) -> list[_FilledHole]:
    """Build each solve, in order, and put its results into the host graph, which gets an output for each report."""
    replaced: dict[ir.Value, ir.Value] = {}
    filled = []
    for choice in choices:
        site = choice.site.reading(replaced)
        lowered = choice.form.lower(site)
        if not choice.form.runs_outside:
            fill(site.hole, lowered)
            results = [value.ir for value in lowered.results]
            replaced |= dict(zip(site.hole.results, results, strict=True))
        report = _add_report(graph, site, lowered)
        filled.append(_FilledHole(site.hole, lowered, solve_card(site, choice.form, lowered, report)))
    return filled


def fill(hole: Hole, lowered: LoweredSolve) -> None:
    """Put the results that a form built where the results of a solve were used."""
    for stand_in, value in zip(hole.results, lowered.results, strict=True):
        name = stand_in.name
        value.ir.shape = value.ir.shape if value.ir.shape is not None else stand_in.shape
        convenience.replace_all_uses_with(stand_in, value.ir, replace_graph_outputs=True)
        if value.ir.is_graph_output():
            stand_in.name, value.ir.name = f"{name}.unsolved", name


def _add_report(graph: ir.Graph, site: Site, lowered: LoweredSolve) -> dict[str, str]:
    """Add graph outputs for a report. Returns the names of the outputs, by the names in the report.

    Two report names that stand for the same value, such as steps and accepted of a solve that rejects no step, share
    one graph output.
    """
    names: dict[str, str] = {}
    outputs: dict[ir.Value, str] = {}
    for key, value in lowered.report.items():
        if value.ir in outputs:
            names[key] = outputs[value.ir]
            continue
        names[key] = outputs[value.ir] = f"solve_{site.hole.spec.index}.{key}"
        # An output needs a node of its own, with a name of its own.
        has_own_node = value.ir.producer() is not None and not value.ir.is_graph_output()
        output = value if has_own_node else value.scope.root.call("Identity", value)
        output.ir.name = names[key]
        output.ir.shape = ir.Shape([None] if site.hole.spec.per_sample or key == "error_ratio" else [])
        graph.outputs.append(output.ir)
    return names


def _divided_at_drives(
    host: ir.Model, filled: Sequence[_FilledHole]
) -> tuple[dict[str, ir.Model], Sequence[ProgramStep]]:
    """Divide the host graph at the solves that the runtime drives.

    Returns all graphs by file name, those of the solves among them, in the order in which the program needs them, and
    the program.
    """
    by_index = {one.card.index: one.lowered for one in filled}
    place_drives(host.graph, [one.hole for one in filled], {i: one.captured for i, one in by_index.items()})
    segments, program = divide(host, loops=False)
    graphs: dict[str, ir.Model] = {}
    for step in program:
        if isinstance(step, DriveStep):
            solvers = by_index[step.drive].graphs
            graphs |= {file: ir.Model(graph, ir_version=host.ir_version) for file, graph in solvers.items()}
        else:
            graphs |= {file: segments[file] for file in files_of([step])}
    return graphs, program
