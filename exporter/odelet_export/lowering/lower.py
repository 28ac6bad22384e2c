"""Lower: fill each hole of a host graph with a solver, or cut the host at the holes for the driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir
from onnx_ir import convenience

from odelet.artifact.solve_card import SETTINGS, DriveCard, DriveStep, RunStep, SolveCard
from odelet_export.capture.captured import Captured
from odelet_export.graphs.scope import Scope
from odelet_export.graphs.tidy import tidy
from odelet_export.lowering.cut import cut
from odelet_export.lowering.field_copy import Built, field_card
from odelet_export.lowering.forms import FORMS, Choice, choose, driven
from odelet_export.lowering.forms.site import LoweredSolve, Site
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.solve_card import _batched, _card, _event_card

MODEL = "model.onnx"


@dataclass(frozen=True)
class LoweredModel:
    """graphs: by file name. program, solves: as in the card. built: the solves, as they were built."""

    graphs: dict[str, ir.Model]
    program: list[RunStep | DriveStep]
    solves: list[SolveCard] = field(default_factory=list)
    built: list[Built] = field(default_factory=list)

    @property
    def form(self) -> str:
        """The one form of all solves, or "mixed"."""
        forms = {solve.form for solve in self.solves}
        return forms.pop() if len(forms) == 1 else "mixed"


def lower(
    captured: Captured, holes: Sequence[Hole], form: str, *, max_steps: int, keep_debug_info: bool
) -> LoweredModel:
    """Choose a form for every solve and build the graphs. Raises FormError for a form nobody can have.

    holes: the solves of `captured`, lifted.
    """
    choices = forms_of(captured, holes, form, max_steps=max_steps)
    if any(choice.form == "driven" for choice in choices):
        model = _lower_driven(captured.model, holes, max_steps)
    else:
        model = _lower_in_graph(captured.model, choices)
    for graph_model in model.graphs.values():
        tidy(graph_model, keep_debug_info=keep_debug_info)
    pieces = [
        field_card(built, solve.drive, model.graphs) for built, solve in zip(model.built, model.solves, strict=True)
    ]
    return replace(model, solves=[replace(s, piece=piece) for s, piece in zip(model.solves, pieces, strict=True)])


def forms_of(captured: Captured, holes: Sequence[Hole], form: str, *, max_steps: int) -> list[Choice]:
    """Choose a form for every solve, as `lower` does. The host's graph gets nodes for what the solves read of it."""
    scope = Scope.of(captured.model.graph)
    alone = sum(hole.spec.adaptive or hole.spec.timeless for hole in holes) == 1
    return choose([Site.of(hole, scope, max_steps, _setting_names(hole, alone=alone)) for hole in holes], form)


def _setting_names(hole: Hole, *, alone: bool) -> dict[str, str]:
    """The graph inputs for what a caller may set; a number tells several solves apart."""
    return {key: key if alone else f"{key}_{hole.spec.index}" for key in ("rtol", "atol", "max_steps")}


def _lower_in_graph(host: ir.Model, choices: Sequence[Choice]) -> LoweredModel:
    solves, built = [], []
    filled: dict[ir.Value, ir.Value] = {}
    for choice in choices:
        site = choice.site.reading(filled)
        lowered = FORMS[choice.form].lower(site)
        fill(site.hole, lowered)
        filled |= {stand_in: value.ir for stand_in, value in zip(site.hole.results, lowered.results, strict=True)}
        report = _add_report(host.graph, site.hole.spec.index, lowered)
        card = _card(site.hole, choice.form, lowered.settings, site.max_steps, lowered=lowered, report=report)
        solves.append(card)
        built.append(Built(site.hole, [value.ir for value in lowered.solution]))
    return LoweredModel({MODEL: host}, [RunStep(run=MODEL)], solves, built)


def fill(hole: Hole, lowered: LoweredSolve) -> None:
    """Put what a form made where the results of a solve were used."""
    for stand_in, value in zip(hole.results, lowered.results, strict=True):
        name = stand_in.name
        value.ir.shape = value.ir.shape if value.ir.shape is not None else stand_in.shape
        convenience.replace_all_uses_with(stand_in, value.ir, replace_graph_outputs=True)
        if value.ir.is_graph_output():
            stand_in.name, value.ir.name = f"{name}.unsolved", name


def _add_report(graph: ir.Graph, index: int, lowered: LoweredSolve) -> dict[str, str]:
    names: dict[str, str] = {}
    told: dict[ir.Value, str] = {}
    for key, value in lowered.report.items():
        # What is said under two names, as the steps of a solve that rejects none, is one output.
        names[key] = told.setdefault(value.ir, f"solve_{index}.{key}")
        if names[key] in list(names.values())[:-1]:
            continue
        # An output needs a node of its own, with a name of its own.
        own = value.ir.producer() is not None and not value.ir.is_graph_output()
        output = value if own else value.scope.root.call("Identity", value)
        output.ir.name = names[key]
        output.ir.shape = ir.Shape([None] if lowered.per_sample or key == "error_ratio" else [])
        graph.outputs.append(output.ir)
    return names


def _lower_driven(host: ir.Model, holes: Sequence[Hole], max_steps: int) -> LoweredModel:
    graph = host.graph
    opset = graph.opset_imports[""]
    _name_values(graph, holes)
    built = {hole.spec.index: driven.build(hole, opset) for hole in holes}
    pieces = cut(graph, holes, {index: graphs.captured for index, graphs in built.items()})
    graphs: dict[str, ir.Model] = {}
    program: list[RunStep | DriveStep] = []
    solves = {}
    for level, (segment, after) in enumerate(zip(pieces.segments, pieces.order, strict=True)):
        if segment is not None:
            graphs[f"segment_{level}.onnx"] = ir.Model(segment, ir_version=host.ir_version)
            program.append(RunStep(run=f"segment_{level}.onnx"))
        for hole in after:
            index = hole.spec.index
            files = {kind: f"solve_{index}_{kind}.onnx" for kind in built[index].graphs}
            for kind, graph_of in built[index].graphs.items():
                graphs[files[kind]] = ir.Model(graph_of, ir_version=host.ir_version)
            event_file = files.pop("event", None)
            named: dict[str, Any] = {**files, **{name: str(value.name) for name, value in hole.extras.items()}}
            drive = DriveCard(
                **named,
                t=None if hole.spec.timeless else str(hole.t.name),
                y0=tuple(str(part.name) for part in hole.y0),
                solution=tuple(str(value.name) for value in hole.solution),
                captured=tuple(str(value.name) for value in built[index].captured),
                options=hole.spec.options,
                batched=_batched(hole, built[index].captured) if hole.spec.own_times else None,
                event=_event_card(hole, event_file),
            )
            solver = hole.spec.solver
            keys = SETTINGS if solver.adaptive or hole.spec.timeless else () if solver.fixed else ("rtol", "atol")
            solves[index] = _card(hole, "driven", dict.fromkeys(keys), max_steps, drive=drive)
            program.append(DriveStep(drive=index))
    return LoweredModel(graphs, program, [solves[hole.spec.index] for hole in holes], [Built(hole) for hole in holes])


def _name_values(graph: ir.Graph, holes: Sequence[Hole]) -> None:
    """Give values that cross between graphs names that clash with nothing, copying those that cannot be renamed."""
    read = {hole.spec.index: [v for region in hole.regions.values() for v in region.captured] for hole in holes}
    for hole in holes:
        for value in read[hole.spec.index]:
            if _clashes(value) and not value.is_graph_input():
                value.name = f"host.{value.name}"
    taken = [v for values in read.values() for v in values if v.is_graph_input() and _clashes(v)]
    for value in dict.fromkeys(taken):
        copy = ir.Value(name=f"host.{value.name}", type=value.type, shape=value.shape)
        convenience.replace_all_uses_with(value, copy)
        graph.append(ir.Node("", "Identity", [value], outputs=[copy]))
        for region in (region for hole in holes for region in hole.regions.values()):
            region.captured[:] = [copy if v is value else v for v in region.captured]
    graph.sort()


def _clashes(value: ir.Value) -> bool:
    return value.name in driven.RESERVED or str(value.name).startswith("shape.")
