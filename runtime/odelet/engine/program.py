"""The card's program joined with its graphs, and what each step takes and gives, checked before the first call.

The law here: after `plan`, every name that a step looks up is there, and the model's inputs and outputs are what the
card says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from odelet.artifact.card import Card
from odelet.artifact.program_steps import DriveStep
from odelet.artifact.solve_card import DriveCard, SolveCard
from odelet.engine.adaptive_steps import SolveGraphs
from odelet.engine.blocks import Block, BlockPlanner, graphs_run
from odelet.engine.drive_check import check_drive
from odelet.engine.run_graph import RunGraph, add_ports, check_port_of, check_small
from odelet.engine.session import Graph, Port
from odelet.errors import ArtifactError

_REPORT_TYPES = {
    **dict.fromkeys(("steps", "accepted", "status", "evaluations", "unconverged"), ("int64",)),
    # A graph without float64 reports in float32.
    **dict.fromkeys(("time", "error_ratio"), ("float64", "float32")),
}


@dataclass(frozen=True)
class DriveSolve:
    """Drive a solve by its graphs. names: the drive entry of its card."""

    solve: SolveCard
    names: DriveCard
    graphs: SolveGraphs


def plan(
    card: Card, graphs: Mapping[str, Graph], *, device: str = "cpu", memory: int | None = None
) -> tuple[Block | DriveSolve, ...]:
    """Join a card's program with its graphs, given by file name. device: on which the graphs run.
    memory: the cap of the memory of the model. Raises ArtifactError
    if they do not fit."""
    available = {
        tensor.name: Port(tensor.dtype, tuple(size if isinstance(size, int) else None for size in tensor.shape))
        for tensor in card.inputs
    }
    planner = BlockPlanner(card, graphs, device, memory)
    made: dict[str, Port] = {}
    steps: list[Block | DriveSolve] = []
    for item in card.program:
        if not isinstance(item, DriveStep):
            block, results = planner.planned(item, available)
            add_ports(available, results, by=block.graph.file if isinstance(block, RunGraph) else "the program")
            made |= results
            steps.append(block)
            continue
        solve = card.solves[item.drive]
        add_ports(available, check_drive(solve, graphs, available), by=f"solve {solve.index}")
        steps.append(_plan_drive(solve, graphs))
    _check_taken(card, steps)
    for tensor in card.outputs:
        if tensor.name not in available:
            raise ArtifactError(f"the card's output {tensor.name!r} is made by no step of the program")
        check_port_of("output", tensor, available[tensor.name], dynamic=True)
    for assumption in card.assumptions:
        if assumption.output not in made and not assumption.sizes:
            raise ArtifactError(f"the assumption's output {assumption.output!r} is given by no graph")
    for solve in card.solves:
        _check_report(solve, made)
    return tuple(_guarded(step, card) if isinstance(step, RunGraph) else step for step in steps)


def _plan_drive(solve: SolveCard, graphs: Mapping[str, Graph]) -> DriveSolve:
    names = solve.drive
    assert names is not None, "the card has checked that a solve in the program has a drive entry"
    files = (names.field, names.step, names.start, names.event.graph if names.event is not None else None)
    field, step, start, event = (None if file is None else graphs[file].session for file in files)
    return DriveSolve(solve, names, SolveGraphs(field=field, step=step, start=start, event=event))


def _check_taken(card: Card, steps: list[Block | DriveSolve]) -> None:
    """Raise ArtifactError unless a graph takes every input and every setting that a caller may give."""
    runs = graphs_run(steps)
    taken = {name for run in runs for name in run.feeds}
    for tensor in card.inputs:
        # Between the segments of a driven model an unused input has no graph that could declare it.
        if tensor.name not in taken and all(isinstance(step, RunGraph) for step in steps):
            raise ArtifactError(f"the card's input {tensor.name!r} is taken by no graph")
    settable = {(key, name) for run in runs for key, names in run.settings.items() for name in names}
    for solve in card.solves:
        for key, name in solve.settings.items():
            if name is not None and (key, name) not in settable:
                raise ArtifactError(
                    f"solve {solve.index}: its setting {key} goes to {name!r}, which no graph takes as a setting"
                )


def _guarded(run: RunGraph, card: Card) -> RunGraph:
    outputs = run.graph.outputs
    guards = tuple(assumption for assumption in card.assumptions if assumption.output in outputs)
    for guard in guards:
        check_small(f"the assumption's output {guard.output!r}", outputs[guard.output], "bool", ())
    return replace(run, guards=guards)


def _check_report(solve: SolveCard, made: Mapping[str, Port]) -> None:
    for key, name in solve.report.items():
        port = made.get(name)
        if port is None:
            raise ArtifactError(f"solve {solve.index}: its report {key} is {name!r}, which no graph gives")
        what = f"solve {solve.index}: the report {name!r}"
        dtypes = _REPORT_TYPES[key]
        dtype = port.dtype if port.dtype in dtypes else dtypes[0]
        if solve.per_sample or key == "error_ratio":
            row = len(port.shape) == 1 and port.dtype == dtype
            if not row:
                raise ArtifactError(f"{what} is {port}; expected {dtype} [?]")
            continue
        check_small(what, port, dtype, ())
