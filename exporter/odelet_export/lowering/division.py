"""Divides a host graph at the nodes whose place the program takes: driven solves, loops, and branches with loops.

The law here: the level of a node is the number of such nodes, one after the other, that must end before it can run, and
the nodes of a level become one graph. A loop or branch is divided inside in the same way, and the steps of the program
nest as the operators did. No operator is added: all numbers come from the nodes that are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from odelet.artifact.program_steps import (
    BranchStep,
    CarriedCard,
    ChosenCard,
    ClockCard,
    DriveStep,
    LoopStep,
    ProgramStep,
    RunStep,
    StackedCard,
)
from odelet_export.graphs.nodes import bodies, read_by
from odelet_export.lowering.cut_nodes import is_drive, is_loop, prepare, takes_place, with_inner
from odelet_export.lowering.forms.steps_note import noted_steps

Block = list[RunStep | LoopStep | BranchStep]


@dataclass(frozen=True)
class _Files:
    """The file names of the graphs of a block. prefix: of all of them. last: the name of the last graph. only: the name
    of the graph where there is one. numbered: whether the names are numbers instead."""

    prefix: str
    last: str
    only: str
    numbered: bool = False

    def segment(self, level: int, levels: int) -> str:
        """The file of the graph of a level."""
        if self.numbered:
            return f"segment_{level}.onnx"
        if levels == 1:
            return f"{self.only}.onnx"
        if level in (0, levels - 1):
            return f"{self.prefix}{self.last if level else 'begin'}.onnx"
        return f"{self.prefix}between_{level}.onnx"

    def inner(self, kind: str, number: int, count: int) -> _Files:
        """The file names of a block inside this one. kind: "turn" or the name of a branch. number: of the node that has
        the block, of `count` such nodes."""
        name = f"{self.prefix}{kind}" + (f"_{number}" if count > 1 else "")
        return _Files(f"{name}_", "end", name)


_OF_HOST = _Files("", "read", "begin")
_AROUND_DRIVES = _Files("", "", "", numbered=True)


def divide(model: ir.Model, *, loops: bool) -> tuple[dict[str, ir.Model], list[ProgramStep]]:
    """Divide a host graph. Returns the graphs by file name, and the program that runs them.

    loops: whether its loops are taken out, so that no graph holds a Loop, or stay in the graphs. The nodes of the model
    are moved, so that it is of no use any more.
    """
    drives = any(map(is_drive, model.graph))
    prepare(model.graph, loops=loops)
    division = _Division(model, loops)
    results = list(model.graph.outputs)
    model.graph.outputs.clear()
    program = division.host(list(model.graph), results, _AROUND_DRIVES if drives else _OF_HOST)
    if not drives:
        division.take_unread_inputs(program)
    return division.graphs, program


@dataclass
class _Division:
    """A host graph that is being divided. takes_loops: whether loops are taken out. graphs: those that are done, by
    file name. names: the values that pass from one graph to another, by name. loops: how many were taken out."""

    model: ir.Model
    takes_loops: bool
    graphs: dict[str, ir.Model] = field(default_factory=dict)
    names: dict[str, ir.Value] = field(default_factory=dict)
    loops: int = 0

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.names |= {str(value.name): value for value in [*graph.inputs, *graph.outputs]}

    def host(self, nodes: Sequence[ir.Node], results: Sequence[ir.Value], files: _Files) -> list[ProgramStep]:
        """Divide the nodes of the host graph, which are in order. results: its outputs."""
        parts = _Parts.of(nodes, results, loops=self.takes_loops)
        program: list[ProgramStep] = []
        for level in range(parts.count):
            program += self._level(parts, level, files)
            program += [self._drive(node) for node in parts.cuts if is_drive(node) and parts.levels[node] == level]
        return program

    def block(self, nodes: Sequence[ir.Node], results: Sequence[ir.Value], files: _Files) -> Block:
        """Divide the nodes of a body, which are in order. results: what others take of them."""
        parts = _Parts.of(nodes, results, loops=self.takes_loops)
        return [step for level in range(parts.count) for step in self._level(parts, level, files)]

    def _level(self, parts: _Parts, level: int, files: _Files) -> Block:
        """The steps of one level: the run of its graph, and what follows it besides driven solves."""
        steps: Block = []
        members = [node for node in parts.nodes if parts.levels[node] == level and node not in parts.cuts]
        outputs = [value for node in members for value in node.outputs if value in parts.wanted]
        if outputs:
            file = files.segment(level, parts.count)
            self.graphs[file] = self._segment(members, outputs, file.removesuffix(".onnx"))
            steps.append(RunStep(run=file))
        for number, node in enumerate(parts.cuts):
            if parts.levels[node] == level and is_loop(node):
                steps.append(self._loop(node, parts.wanted, files.inner("turn", number, len(parts.cuts))))
            elif parts.levels[node] == level and not is_drive(node):
                steps.append(self._branch(node, parts.wanted, files, number, len(parts.cuts)))
        return steps

    def _drive(self, node: ir.Node) -> DriveStep:
        """The step of the program for a driven solve, whose values keep the names that the card has for them."""
        for value in [*read_by(node), *node.outputs]:
            name = value.name
            assert self._name(value) == name, "names in the host are unique"
        return DriveStep(drive=node.attributes["solve"].as_int())

    def _segment(self, nodes: Sequence[ir.Node], outputs: Sequence[ir.Value], name: str) -> ir.Model:
        """Move nodes into a graph of their own."""
        made = {value for node in nodes for value in node.outputs}
        owner = nodes[0].graph
        assert isinstance(owner, ir.Graph)
        owner.remove(nodes)
        graph = ir.Graph([], [], nodes=nodes, opset_imports=dict(self.model.graph.opset_imports), name=name)
        stand_ins: dict[ir.Value, ir.Value] = {}
        for value in dict.fromkeys(value for node in nodes for value in read_by(node) if value not in made):
            stored = value.const_value if value.producer() is None else None
            setting = value.is_graph_input()
            name = str(value.name) if stored is not None and not setting else self._name(value)
            stand_ins[value] = ir.Value(name=name, type=value.type, shape=value.shape, const_value=stored)
            if stored is not None:
                graph.register_initializer(stand_ins[value])
            if stored is None or setting:
                graph.inputs.append(stand_ins[value])
        for inner in [x for node in nodes for x in with_inner(node)]:
            for place, read in enumerate(inner.inputs):
                if read in stand_ins:
                    inner.replace_input_with(place, stand_ins[read])
        for value in outputs:
            self._name(value)
            graph.outputs.append(value)
        return ir.Model(graph, ir_version=self.model.ir_version)

    def _loop(self, node: ir.Node, wanted: set[ir.Value], files: _Files) -> LoopStep:
        """The step of the program for a Loop, whose body becomes graphs. wanted: the values that others take."""
        (body,) = bodies(node)
        number, self.loops = self.loops, self.loops + 1
        iteration, go, *state = body.inputs
        for value, kind in [(iteration, "iteration"), (go, "go"), *((x, f"carried_{i}") for i, x in enumerate(state))]:
            value.name = f"loop_{number}.{kind}"
        limit, go_on, *starts = node.inputs
        again, *made = body.outputs
        body.outputs.clear()
        finals, stacks = node.outputs[: len(state)], node.outputs[len(state) :]
        after, collected = made[: len(state)], made[len(state) :]
        reads_iteration = bool(iteration.uses())
        kept = [(value, stack) for value, stack in zip(collected, stacks, strict=True) if stack in wanted]
        # A body that always goes on hands on the value that says so.
        always = _source(again) is go
        results = [*([] if always else [again]), *after, *(value for value, _ in kept)]
        repeat = self.block(list(body), results, files)
        note = noted_steps(node)
        clock = None if note is None or note.clock is None else note.clock
        start, end = (None, None) if clock is None or clock.ends is None else clock.ends
        return LoopStep(
            repeat=tuple(repeat),
            most=None if limit is None else self._name(limit),
            go_on=None if go_on is None else self._name(go_on),
            again=None if always else self._name(again),
            iteration=self._name(iteration) if reads_iteration else None,
            carried=tuple(
                CarriedCard(
                    turn=self._name(turn),
                    start=self._name(start),
                    after=self._name(end),
                    result=self._name(final) if final in wanted else None,
                )
                for turn, start, end, final in zip(state, starts, after, finals, strict=True)
                if start is not None
            ),
            stacked=tuple(StackedCard(made=self._name(value), result=self._name(stack)) for value, stack in kept),
            solve=None if note is None else note.solve,
            all_turns=note is not None and note.all_turns,
            clock=None if clock is None else ClockCard(time=self._name(state[clock.place]), start=start, end=end),
        )

    def _branch(self, node: ir.Node, wanted: set[ir.Value], files: _Files, number: int, count: int) -> BranchStep:
        """The step of the program for an If, whose branches become graphs. wanted: the values that others take."""
        condition = node.inputs[0]
        assert condition is not None
        blocks, results = [], []
        for kind, key in (("then", "then_branch"), ("else", "else_branch")):
            graph = node.attributes[key].as_graph()
            outputs = [value for value, out in zip(graph.outputs, node.outputs, strict=True) if out in wanted]
            graph.outputs.clear()
            blocks.append(self.block(list(graph), outputs, files.inner(kind, number, count)))
            results.append([self._name(value) for value in outputs])
        names = [self._name(value) for value in node.outputs if value in wanted]
        return BranchStep(
            choose=self._name(condition),
            then=tuple(blocks[0]),
            otherwise=tuple(blocks[1]),
            chosen=tuple(
                ChosenCard(then=then, otherwise=otherwise, result=result)
                for then, otherwise, result in zip(*results, names, strict=True)
            ),
        )

    def take_unread_inputs(self, program: Sequence[ProgramStep]) -> None:
        """Give the first graph the inputs of the model, and the settings, that no graph reads."""
        first = next((self.graphs[step.run].graph for step in program if isinstance(step, RunStep)), None)
        taken = {value.name for model in self.graphs.values() for value in model.graph.inputs}
        for value in self.model.graph.inputs:
            if first is not None and value.name not in taken:
                stand_in = ir.Value(name=value.name, type=value.type, shape=value.shape, const_value=value.const_value)
                first.inputs.append(stand_in)
                if value.const_value is not None:
                    first.register_initializer(stand_in)

    def _name(self, value: ir.Value) -> str:
        """The name of a value that passes between graphs, which no other such value has."""
        name = str(value.name)
        while self.names.setdefault(name, value) is not value:
            name = f"{name}.next"
        value.name = name
        return name


@dataclass(frozen=True)
class _Parts:
    """The nodes of a block in order, those that its results do not depend on left out. cuts: the nodes whose place the
    program takes. levels: of the nodes. count: how many levels there are. wanted: the values that other graphs, the
    program or the results take."""

    nodes: Sequence[ir.Node]
    cuts: Sequence[ir.Node]
    levels: Mapping[ir.Node, int]
    count: int
    wanted: set[ir.Value]

    @classmethod
    def of(cls, nodes: Sequence[ir.Node], results: Sequence[ir.Value], *, loops: bool) -> _Parts:
        """The parts of a block of nodes. loops: whether loops are taken out."""
        reads = {node: list(dict.fromkeys(read_by(node))) for node in nodes}
        nodes = _needed(nodes, reads, results)
        cuts = [node for node in nodes if takes_place(node, loops=loops)]
        cut = set(cuts)
        levels: dict[ir.Node, int] = {}
        made_at: dict[ir.Value, int] = {}
        for node in nodes:
            levels[node] = max((made_at.get(value, 0) for value in reads[node]), default=0)
            made_at |= dict.fromkeys(node.outputs, levels[node] + (node in cut))
        count = 1 + max([*levels.values(), *(levels[node] + 1 for node in cuts if not is_drive(node))], default=0)
        made = {output: node for node in nodes for output in node.outputs}
        wanted = {*results, *(value for node in cuts for value in reads[node])}
        for node in nodes:
            wanted |= {x for x in reads[node] if x in made and (levels[made[x]] != levels[node] or made[x] in cut)}
        return cls(nodes, cuts, levels, count, wanted)


def _needed(
    nodes: Sequence[ir.Node], reads: Mapping[ir.Node, Sequence[ir.Value]], results: Sequence[ir.Value]
) -> list[ir.Node]:
    """The nodes that the results depend on, in order. A driven solve is always needed: it tells what it did."""
    wanted, needed = set(results), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs) or is_drive(node):
            needed.append(node)
            wanted |= set(reads[node])
    return needed[::-1]


def _source(value: ir.Value) -> ir.Value | None:
    """The value of which a value is a copy: the input of the Cast or Identity that makes it."""
    maker = value.producer()
    return maker.inputs[0] if maker is not None and maker.op_type in ("Cast", "Identity") else value
