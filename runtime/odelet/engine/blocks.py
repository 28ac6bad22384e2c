"""Loops and branches of the program, joined with their graphs and with the values that pass in and out.

The law here: as in `run_graph`; a block is checked before its first call, and no array is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from odelet.artifact.card import Card
from odelet.artifact.program_steps import BranchStep, LoopStep, RunStep
from odelet.engine.run_graph import Arrays, RunGraph, add_ports, check_small, plan_run
from odelet.engine.session import Graph, Port
from odelet.engine.turns import Repeated
from odelet.errors import ArtifactError
from odelet.numerics.backend import NumpyArray


@dataclass(frozen=True)
class Branch:
    """A branch, ready to run. step: its entry in the card. then, otherwise: the steps of its two blocks."""

    step: BranchStep
    then: Sequence[RunGraph | Repeated | Branch]
    otherwise: Sequence[RunGraph | Repeated | Branch]

    def __call__(self, values: Arrays, settings: Arrays) -> dict[str, NumpyArray]:
        """Run the block that the condition chooses. Returns what it makes, by the names that the value has after it."""
        first = bool(values[self.step.choose])
        inner = dict(values)
        for step in self.then if first else self.otherwise:
            inner |= step(inner, settings)
        return {one.result: inner[one.then if first else one.otherwise] for one in self.step.chosen}


Block = RunGraph | Repeated | Branch


@dataclass(frozen=True)
class BlockPlanner:
    """Joins steps of a program with graphs, given by file name. device: on which the graphs run.
    memory: the cap of the memory of the model, in bytes, or None."""

    card: Card
    graphs: Mapping[str, Graph]
    device: str
    memory: int | None

    def planned(
        self, item: RunStep | LoopStep | BranchStep, available: Mapping[str, Port]
    ) -> tuple[Block, Mapping[str, Port]]:
        """Join a step with its graphs. Returns it, and what it makes, by name. available: the values that are there.

        Raises ArtifactError where they do not fit.
        """
        if isinstance(item, LoopStep):
            return self._loop(item, available)
        if isinstance(item, BranchStep):
            return self._branch(item, available)
        run = plan_run(self.card, self.graphs[item.run], available)
        return run, run.graph.outputs

    def _steps(
        self, items: Sequence[RunStep | LoopStep | BranchStep], available: Mapping[str, Port]
    ) -> tuple[list[Block], dict[str, Port]]:
        """Join the steps of a block. Returns them, and all values that are there after them."""
        inner, steps = dict(available), []
        for item in items:
            step, made = self.planned(item, inner)
            add_ports(inner, made, by=step.graph.file if isinstance(step, RunGraph) else "a block of the program")
            steps.append(step)
        return steps, inner

    def _branch(self, step: BranchStep, available: Mapping[str, Port]) -> tuple[Branch, dict[str, Port]]:
        check_small(f"a branch of the program: {step.choose!r}", _found(step.choose, available), "bool", ())
        then, in_then = self._steps(step.then, available)
        otherwise, in_otherwise = self._steps(step.otherwise, available)
        results = {}
        for one in step.chosen:
            first, second = _found(one.then, in_then), _found(one.otherwise, in_otherwise)
            if first.dtype != second.dtype or len(first.shape) != len(second.shape):
                raise ArtifactError(f"a branch of the program makes {one.result!r} as {first} or as {second}")
            results[one.result] = _of_any_size(first)
        return Branch(step, then, otherwise), results

    def _loop(self, loop: LoopStep, available: Mapping[str, Port]) -> tuple[Repeated, dict[str, Port]]:
        inner = dict(available)
        for name, dtype in ((loop.most, "int64"), (loop.go_on, "bool")):
            if name is not None:
                check_small(f"a loop of the program: {name!r}", _found(name, available), dtype, ())
        if loop.iteration is not None:
            add_ports(inner, {loop.iteration: Port("int64", ())}, by="a loop of the program")
        starts = {one.turn: _found(one.start, available) for one in loop.carried}
        add_ports(inner, {name: _of_any_size(port) for name, port in starts.items()}, by="a loop of the program")
        if len(starts) < len(loop.carried):
            raise ArtifactError("a loop of the program carries two values by one name: export the model again")
        steps, inner = self._steps(loop.repeat, inner)
        if loop.again is not None:
            check_small(f"a loop of the program: {loop.again!r}", _found(loop.again, inner), "bool", ())
        results = {}
        for one in loop.carried:
            port, after = starts[one.turn], _found(one.after, inner)
            if after.dtype != port.dtype or (after.shape and port.shape and len(after.shape) != len(port.shape)):
                raise ArtifactError(f"a loop of the program starts from {one.start!r}, {port}, and hands on {after}")
            if one.result is not None:
                results[one.result] = _of_any_size(after if len(after.shape) >= len(port.shape) else port)
        made = {one.made: _found(one.made, inner) for one in loop.stacked}
        results |= {one.result: Port(made[one.made].dtype, (None, *made[one.made].shape)) for one in loop.stacked}
        whole = steps[0].graph if len(steps) == 1 and isinstance(steps[0], RunGraph) else None
        rows = {name: (port.dtype, tuple(size or 0 for size in port.shape)) for name, port in made.items()}
        return Repeated(loop, steps, whole, rows, self.device, self.memory), results


def graphs_run(steps: Sequence[object]) -> list[RunGraph]:
    """The graphs that steps run themselves, those in loops and branches among them."""
    runs: list[RunGraph] = []
    for step in steps:
        if isinstance(step, Repeated):
            runs += graphs_run(step.steps)
        elif isinstance(step, Branch):
            runs += graphs_run([*step.then, *step.otherwise])
        elif isinstance(step, RunGraph):
            runs.append(step)
    return runs


def _found(name: str, values: Mapping[str, Port]) -> Port:
    if name not in values:
        raise ArtifactError(f"the program needs {name!r}, which nothing makes: export the model again")
    return values[name]


def _of_any_size(port: Port) -> Port:
    return Port(port.dtype, (None,) * len(port.shape))
