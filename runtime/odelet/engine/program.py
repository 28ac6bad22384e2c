"""The card's program joined with its graphs, and what each step takes and gives, checked before the first call.

The law here: after `plan`, every name that a step looks up is there, and the model's inputs and outputs are what the
card says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnxruntime as ort

from odelet.artifact.card import Card, Tensor
from odelet.artifact.input_cards import AssumptionCard
from odelet.artifact.solve_card import DriveCard, RunStep, SolveCard
from odelet.engine.adaptive_steps import SolveGraphs
from odelet.engine.buffers import MEMORY
from odelet.engine.session import Graph, Port
from odelet.errors import ArtifactError, AssumptionError
from odelet.methods.fixed_point import Iteration
from odelet.methods.roster import method_of
from odelet.numerics.backend import NumpyArray

_SETTING_TYPES = {"rtol": "float64", "atol": "float64", "max_steps": "int64"}
_REPORT_TYPES = {
    **dict.fromkeys(("steps", "accepted", "status", "evaluations", "unconverged"), "int64"),
    **dict.fromkeys(("time", "error_ratio"), "float64"),
}

# The inputs that the driver can feed to the graphs of a driven solve, besides captured values and shapes.
_FIELD_INPUTS = ("t", "y")
_START_INPUTS = ("t", "direction", "y", "k", "rtol", "atol")
_STEP_INPUTS = ("t", "t1", "h", "y", "k", "rtol", "atol", *MEMORY)


@dataclass(frozen=True)
class RunGraph:
    """Run a graph.

    feeds: names of the values that the graph takes. settings: the graph inputs that take each setting. guards: the
    assumptions that the graph checks.
    """

    graph: Graph
    feeds: tuple[str, ...]
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    guards: tuple[AssumptionCard, ...] = ()

    def __call__(self, values: Mapping[str, NumpyArray], settings: Mapping[str, NumpyArray]) -> dict[str, NumpyArray]:
        """Return the outputs of the graph, by name. Raises AssumptionError for an assumption that does not hold: the
        outputs are then not what the model would have given."""
        feeds = {name: values[name] for name in self.feeds}
        for key, value in settings.items():
            for name in self.settings.get(key, ()):
                feeds[name] = np.broadcast_to(value, [size or 0 for size in self.graph.defaults[name].shape])
        outputs = self.graph.run(feeds)
        for guard in self.guards:
            if not outputs[guard.output]:
                raise AssumptionError(guard.refusal, guard)
        return outputs


@dataclass(frozen=True)
class DriveSolve:
    """Drive a solve by its graphs. names: the drive entry of its card."""

    solve: SolveCard
    names: DriveCard
    graphs: SolveGraphs


def plan(card: Card, graphs: dict[str, Graph]) -> tuple[RunGraph | DriveSolve, ...]:
    """Join a card's program with its graphs, given by file name. Raises ArtifactError if they do not fit."""
    available: dict[str, Port | None] = {tensor.name: None for tensor in card.inputs}
    steps: list[RunGraph | DriveSolve] = []
    for item in card.program:
        if isinstance(item, RunStep):
            run = _plan_run(card, graphs[item.run], available)
            _add(available, dict(run.graph.outputs), by=run.graph.file)
            steps.append(run)
            continue
        solve = card.solves[item.drive]
        drive = _plan_drive(solve, graphs, available)
        _add(available, dict.fromkeys(drive.names.results), by=f"solve {solve.index}")
        steps.append(drive)
    _check_taken(card, steps)
    for tensor in card.outputs:
        if tensor.name not in available:
            raise ArtifactError(f"the card's output {tensor.name!r} is made by no step of the program")
        port = available[tensor.name]
        if port is not None:
            _check_port("output", tensor, port, dynamic=True)
    for assumption in card.assumptions:
        if available.get(assumption.output) is None:
            raise ArtifactError(f"the assumption's output {assumption.output!r} is given by no graph")
    for solve in card.solves:
        _check_report(solve, available)
    return tuple(_guarded(step, card) if isinstance(step, RunGraph) else step for step in steps)


def _add(available: dict[str, Port | None], new: dict[str, Port | None], *, by: str) -> None:
    """Add the values that a step makes to those made before it, each with its port, or None if no graph states it."""
    for name, port in new.items():
        if name in available:
            raise ArtifactError(f"{by}: it makes {name!r}, which is there already; export the model again")
        available[name] = port


def _plan_run(card: Card, graph: Graph, available: dict[str, Port | None]) -> RunGraph:
    for name in graph.inputs:
        if name not in available:
            raise ArtifactError(
                f"{graph.file}: it needs {name!r}, which is neither an input in the card nor made by an earlier step"
            )
    feeds = (*graph.inputs, *(name for name in graph.defaults if name in available))
    for tensor in card.inputs:
        if tensor.name in feeds:
            _check_port(f"{graph.file}: input", tensor, (graph.inputs | graph.defaults)[tensor.name], dynamic=False)
    settings: dict[str, tuple[str, ...]] = {}
    for solve in card.solves:
        for key, target in solve.settings.items():
            if target in graph.defaults and target not in settings.get(key, ()):
                parts = getattr(solve, key)
                shape = (len(parts),) if isinstance(parts, tuple) else ()
                _check_small(f"{graph.file}: input {target!r}", graph.defaults[target], _SETTING_TYPES[key], shape)
                settings[key] = (*settings.get(key, ()), target)
    return RunGraph(graph, feeds, settings)


def _plan_drive(solve: SolveCard, graphs: dict[str, Graph], available: dict[str, Port | None]) -> DriveSolve:
    names = solve.drive
    assert names is not None, "the card has checked that a solve in the program has a drive entry"
    needed = (names.t, *names.y0, *names.captured, names.step_t, names.jump_t, names.grid)
    for name in (name for name in needed if name is not None):
        if name not in available:
            raise ArtifactError(f"solve {solve.index}: it needs {name!r}, which is made by no earlier step")
    method = method_of(solve.method)
    if isinstance(method, Iteration) != (names.field is None):
        raise ArtifactError(f"solve {solve.index}: {solve.method} does not go with its drive entry; export it again")
    if method.adaptive and names.start is None and "first_step" not in names.options:
        raise ArtifactError(f"solve {solve.index}: it names neither a first_step nor a graph that estimates one")
    shapes = [f"shape.{index}" for index in range(len(names.y0))]
    event = names.event.graph if names.event is not None else None
    roles: tuple[tuple[str | None, tuple[str, ...], str], ...] = (
        (names.field, _FIELD_INPUTS, "k"),
        (names.step, _STEP_INPUTS, "y1"),
        (names.start, _START_INPUTS, "h"),
        (event, _FIELD_INPUTS, "c"),
    )
    sessions: list[ort.InferenceSession | None] = []
    for file, fed, output in roles:
        if file is None:
            sessions.append(None)
            continue
        graph = graphs[file]
        for name in graph.inputs:
            if name not in (*fed, *names.captured, *shapes):
                raise ArtifactError(f"{graph.file}: it needs {name!r}, which the driver does not have")
        if output not in graph.outputs:
            raise ArtifactError(f"{graph.file}: it has no output {output!r}, which the driver needs")
        sessions.append(graph.session)
    field, step, start, ends = sessions
    return DriveSolve(solve, names, SolveGraphs(field=field, step=step, start=start, event=ends))


def _check_taken(card: Card, steps: list[RunGraph | DriveSolve]) -> None:
    """Raise ArtifactError unless a graph takes every input and every setting that a caller may give."""
    runs = [step for step in steps if isinstance(step, RunGraph)]
    taken = {name for run in runs for name in run.feeds}
    for tensor in card.inputs:
        # Between the segments of a driven model an unused input has no graph that could declare it.
        if tensor.name not in taken and len(runs) == len(steps):
            raise ArtifactError(f"the card's input {tensor.name!r} is taken by no graph")
    settable = {(key, name) for run in runs for key, names in run.settings.items() for name in names}
    for solve in card.solves:
        for key, name in solve.settings.items():
            if name is not None and (key, name) not in settable:
                raise ArtifactError(
                    f"solve {solve.index}: its setting {key} goes to {name!r}, which is no graph input with a default"
                )


def _guarded(run: RunGraph, card: Card) -> RunGraph:
    outputs = run.graph.outputs
    guards = tuple(assumption for assumption in card.assumptions if assumption.output in outputs)
    for guard in guards:
        _check_small(f"the assumption's output {guard.output!r}", outputs[guard.output], "bool", ())
    return replace(run, guards=guards)


def _check_report(solve: SolveCard, available: dict[str, Port | None]) -> None:
    for key, name in solve.report.items():
        port = available.get(name)
        if port is None:
            raise ArtifactError(f"solve {solve.index}: its report {key} is {name!r}, which no graph gives")
        what = f"solve {solve.index}: the report {name!r}"
        row = solve.per_sample or key == "error_ratio"
        if row and len(port.shape) == 1 and port.dtype == _REPORT_TYPES[key]:
            continue
        _check_small(what, port, _REPORT_TYPES[key], ())


def _check_small(what: str, port: Port, dtype: str, shape: tuple[int, ...]) -> None:
    if port != Port(dtype, shape):
        wanted = f"{dtype} {list(shape)}" if shape else f"a {dtype} scalar"
        raise ArtifactError(f"{what} is {port.dtype} {list(port.shape)}; expected {wanted}")


def _check_port(what: str, tensor: Tensor, port: Port, *, dynamic: bool) -> None:
    """Raise ArtifactError unless the card and the graph agree on an input or output.

    A graph that states no shape leaves it to the card. dynamic: whether ONNX Runtime may know a size that the card
    leaves open, as it infers more of an output than the exporter saw.
    """
    fits = tensor.dtype == port.dtype
    if port.shape:
        fits = fits and len(port.shape) == len(tensor.shape)
        fits = fits and all(
            size is None or size == declared or (dynamic and isinstance(declared, str))
            for size, declared in zip(port.shape, tensor.shape, strict=True)
        )
    if not fits:
        shape = ", ".join("?" if size is None else str(size) for size in port.shape)
        raise ArtifactError(
            f"{what} {tensor.name!r} is {tensor} in the card, and {port.dtype} [{shape}] in the graph; "
            "the two do not belong together: export the model again"
        )
