"""The card's program joined with its graphs, and what each step takes and gives, checked before the first call.

The law here: after `plan`, every name that a step looks up is there, and the model's inputs and outputs are what the
card says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.input_cards import AssumptionCard
from odelet.artifact.solve_card import DriveCard, RunStep, SolveCard
from odelet.engine.adaptive_steps import SolveGraphs
from odelet.engine.drive_check import check_drive
from odelet.engine.session import Graph, Port
from odelet.errors import ArtifactError, AssumptionError
from odelet.numerics.backend import NumpyArray

_SETTING_TYPES = {"rtol": "float64", "atol": "float64", "max_steps": "int64"}
_REPORT_TYPES = {
    **dict.fromkeys(("steps", "accepted", "status", "evaluations", "unconverged"), "int64"),
    **dict.fromkeys(("time", "error_ratio"), "float64"),
}


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
            # A graph may state no rank, and give more than one number.
            if not outputs[guard.output].all():
                raise AssumptionError(guard.refusal, guard)
        return outputs


@dataclass(frozen=True)
class DriveSolve:
    """Drive a solve by its graphs. names: the drive entry of its card."""

    solve: SolveCard
    names: DriveCard
    graphs: SolveGraphs


def plan(card: Card, graphs: Mapping[str, Graph]) -> tuple[RunGraph | DriveSolve, ...]:
    """Join a card's program with its graphs, given by file name. Raises ArtifactError if they do not fit."""
    available = {
        tensor.name: Port(tensor.dtype, tuple(size if isinstance(size, int) else None for size in tensor.shape))
        for tensor in card.inputs
    }
    made: dict[str, Port] = {}
    steps: list[RunGraph | DriveSolve] = []
    for item in card.program:
        if isinstance(item, RunStep):
            run = _plan_run(card, graphs[item.run], available)
            _add(available, run.graph.outputs, by=run.graph.file)
            made |= run.graph.outputs
            steps.append(run)
            continue
        solve = card.solves[item.drive]
        _add(available, check_drive(solve, graphs, available), by=f"solve {solve.index}")
        steps.append(_plan_drive(solve, graphs))
    _check_taken(card, steps)
    for tensor in card.outputs:
        if tensor.name not in available:
            raise ArtifactError(f"the card's output {tensor.name!r} is made by no step of the program")
        _check_port("output", tensor, available[tensor.name], dynamic=True)
    for assumption in card.assumptions:
        if assumption.output not in made and not assumption.sizes:
            raise ArtifactError(f"the assumption's output {assumption.output!r} is given by no graph")
    for solve in card.solves:
        _check_report(solve, made)
    return tuple(_guarded(step, card) if isinstance(step, RunGraph) else step for step in steps)


def _add(available: dict[str, Port], new: Mapping[str, Port], *, by: str) -> None:
    """Add the values that a step makes to those made before it."""
    for name, port in new.items():
        if name in available:
            raise ArtifactError(f"{by}: it makes {name!r}, which is there already; export the model again")
        available[name] = port


def _plan_run(card: Card, graph: Graph, available: Mapping[str, Port]) -> RunGraph:
    for name in graph.inputs:
        if name not in available:
            raise ArtifactError(
                f"{graph.file}: it needs {name!r}, which is neither an input in the card nor made by an earlier step"
            )
    feeds = (*graph.inputs, *(name for name in graph.defaults if name in available))
    taken, inputs = graph.inputs | graph.defaults, {tensor.name for tensor in card.inputs}
    for tensor in card.inputs:
        if tensor.name in feeds:
            _check_port(f"{graph.file}: input", tensor, taken[tensor.name], dynamic=False)
    for name in (name for name in feeds if name not in inputs):
        port, given = taken[name], available[name]
        if port.dtype != given.dtype or (port.shape and given.shape and len(port.shape) != len(given.shape)):
            raise ArtifactError(f"{graph.file}: input {name!r} is {port}, and what an earlier step makes is {given}")
    settings: dict[str, tuple[str, ...]] = {}
    for solve in card.solves:
        for key, target in solve.settings.items():
            if target in graph.defaults and target not in settings.get(key, ()):
                if key not in _SETTING_TYPES:
                    raise ArtifactError(
                        f"solve {solve.index}: no graph input can be the setting {key!r}, as {target!r} is"
                    )
                parts = getattr(solve, key)
                shape = (len(parts),) if isinstance(parts, tuple) else ()
                _check_small(f"{graph.file}: input {target!r}", graph.defaults[target], _SETTING_TYPES[key], shape)
                settings[key] = (*settings.get(key, ()), target)
    return RunGraph(graph, feeds, settings)


def _plan_drive(solve: SolveCard, graphs: Mapping[str, Graph]) -> DriveSolve:
    names = solve.drive
    assert names is not None, "the card has checked that a solve in the program has a drive entry"
    files = (names.field, names.step, names.start, names.event.graph if names.event is not None else None)
    field, step, start, event = (None if file is None else graphs[file].session for file in files)
    return DriveSolve(solve, names, SolveGraphs(field=field, step=step, start=start, event=event))


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


def _check_report(solve: SolveCard, made: Mapping[str, Port]) -> None:
    for key, name in solve.report.items():
        port = made.get(name)
        if port is None:
            raise ArtifactError(f"solve {solve.index}: its report {key} is {name!r}, which no graph gives")
        what = f"solve {solve.index}: the report {name!r}"
        if solve.per_sample or key == "error_ratio":
            row = len(port.shape) == 1 and port.dtype == _REPORT_TYPES[key]
            if not row:
                raise ArtifactError(f"{what} is {port}; expected {_REPORT_TYPES[key]} [?]")
            continue
        _check_small(what, port, _REPORT_TYPES[key], ())


def _check_small(what: str, port: Port, dtype: str, shape: tuple[int, ...]) -> None:
    if port != Port(dtype, shape):
        wanted = f"{dtype} {list(shape)}" if shape else f"a {dtype} scalar"
        raise ArtifactError(f"{what} is {port}; expected {wanted}")


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
        if fits and not dynamic:
            named = {place: name for place, name in enumerate(tensor.shape) if isinstance(name, str)}
            fits = all(named.get(place, name) == name for place, name in port.axes.items())
    if not fits:
        raise ArtifactError(
            f"{what} {tensor.name!r} is {tensor} in the card, and {port} in the graph; "
            "the two do not belong together: export the model again"
        )
