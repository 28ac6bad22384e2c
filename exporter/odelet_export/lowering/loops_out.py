"""Takes the loops out of a host graph: their bodies become graphs of their own, which the runtime repeats.

The law here: no graph that leaves this file holds a Loop, wherever it came from. A Loop inside the body of another, or
in a branch of an If, is taken out as well, and the steps of the program nest as the operators did. No operator is added
but Identity: all numbers come from the nodes that the forms emitted, so that the answers are equal to those of the
whole graph to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
from onnx_ir import convenience

from odelet.artifact.program_steps import BranchStep, CarriedCard, ChosenCard, LoopStep, RunStep, StackedCard
from odelet_export.graphs.nodes import bodies, read_by
from odelet_export.lowering.forms.loop import ATTEMPTS_OF

Program = list[RunStep | LoopStep | BranchStep]


@dataclass(frozen=True)
class _Files:
    """The file names of the graphs of a block. prefix: of all of them. last: the name of the last graph. only: the name
    of the graph where there is one."""

    prefix: str
    last: str
    only: str

    def segment(self, level: int, levels: int) -> str:
        """The file of the graph of a level."""
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


def take_out_loops(model: ir.Model) -> tuple[dict[str, ir.Model], Program]:
    """Divide a host graph at its loops. Returns the graphs by file name, and the program that runs them.

    The nodes of the model are moved, so that it is of no use any more.
    """
    _prepare(model.graph)
    division = _Division(model)
    results = list(model.graph.outputs)
    model.graph.outputs.clear()
    program = division.block(list(model.graph), results, _OF_HOST)
    division.take_unread_inputs(program)
    return division.graphs, program


def _prepare(graph: ir.Graph) -> None:
    """Insert Identity nodes so that what a loop starts from and what its body returns are values that nodes make, and
    so that the settings of calls are read once."""
    settings: dict[ir.Value, ir.Value] = {
        value: ir.Value(name=f"{value.name}.given", type=value.type, shape=value.shape)
        for value in graph.inputs
        if value.const_value is not None
    }
    for setting, copy in settings.items():
        convenience.replace_all_uses_with(setting, copy)
    first = next(iter(graph), None)
    nodes = [ir.Node("", "Identity", [value], outputs=[copy]) for value, copy in settings.items() if copy.uses()]
    if first is not None:
        graph.insert_before(first, nodes)
    for node in [node for node in graph.all_nodes() if _is_cut(node)]:
        owner = node.graph
        assert isinstance(owner, ir.Graph)
        for place, value in enumerate(node.inputs):
            if value is not None and value.producer() is None:
                made = _copied(value)
                owner.insert_before(node, [made])
                node.replace_input_with(place, made.outputs[0])
        for body in bodies(node):
            _prepare_results(body)


def _prepare_results(body: ir.Graph) -> None:
    """Have each result of a subgraph made by a node of its own there."""
    made: set[ir.Value] = set()
    for place, value in enumerate(body.outputs):
        maker = value.producer()
        if maker is None or maker.graph is not body or value in made:
            copy = _copied(value)
            body.append(copy)
            body.outputs[place] = copy.outputs[0]
        made.add(body.outputs[place])


def _copied(value: ir.Value) -> ir.Node:
    return ir.Node(
        "", "Identity", [value], outputs=[ir.Value(name=f"{value.name}.copy", type=value.type, shape=value.shape)]
    )


@dataclass
class _Division:
    """A host graph that is being divided. graphs: those that are done, by file name. names: the values that pass from
    one graph to another, by name. loops: how many were taken out."""

    model: ir.Model
    graphs: dict[str, ir.Model] = field(default_factory=dict)
    names: dict[str, ir.Value] = field(default_factory=dict)
    loops: int = 0

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.names |= {str(value.name): value for value in [*graph.inputs, *graph.outputs]}

    def block(self, nodes: Sequence[ir.Node], results: Sequence[ir.Value], files: _Files) -> Program:
        """Divide the nodes of the host graph or of a body, which are in order. results: what others take of them."""
        reads = {node: list(dict.fromkeys(read_by(node))) for node in nodes}
        nodes = _needed(nodes, reads, results)
        levels = _levels(nodes, reads)
        cuts = [node for node in nodes if _is_cut(node)]
        count = 1 + max([*levels.values(), *(levels[node] + 1 for node in cuts)], default=0)
        made = {output: node for node in nodes for output in node.outputs}
        wanted = {*results, *(value for node in cuts for value in reads[node])}
        for node in nodes:
            wanted |= {x for x in reads[node] if x in made and (levels[made[x]] != levels[node] or _is_cut(made[x]))}
        program: Program = []
        for level in range(count):
            members = [node for node in nodes if levels[node] == level and not _is_cut(node)]
            outputs = [value for node in members for value in node.outputs if value in wanted]
            if outputs:
                file = files.segment(level, count)
                self.graphs[file] = self._segment(members, outputs, file.removesuffix(".onnx"))
                program.append(RunStep(run=file))
            for number, node in enumerate(cuts):
                if levels[node] == level and _is_loop(node):
                    program.append(self._loop(node, wanted, files.inner("turn", number, len(cuts))))
                elif levels[node] == level:
                    program.append(self._branch(node, wanted, files, number, len(cuts)))
        return program

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
        for inner in [x for node in nodes for x in (node, *_inside(node))]:
            for place, read in enumerate(inner.inputs):
                if read in stand_ins:
                    inner.replace_input_with(place, stand_ins[read])
        for value in outputs:
            self._name(value)
            graph.outputs.append(value)
        return ir.Model(graph, ir_version=self.model.ir_version)

    def _loop(self, node: ir.Node, wanted: set[ir.Value], files: _Files) -> LoopStep:
        """The step of the program for a Loop, whose body becomes graphs. wanted: the values that others take."""
        body = _body(node)
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
            solve=node.meta.get(ATTEMPTS_OF),
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

    def take_unread_inputs(self, program: Program) -> None:
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


def _needed(
    nodes: Sequence[ir.Node], reads: Mapping[ir.Node, Sequence[ir.Value]], results: Sequence[ir.Value]
) -> list[ir.Node]:
    """The nodes that the results depend on, in order."""
    wanted, needed = set(results), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            needed.append(node)
            wanted |= set(reads[node])
    return needed[::-1]


def _levels(nodes: Sequence[ir.Node], reads: Mapping[ir.Node, Sequence[ir.Value]]) -> dict[ir.Node, int]:
    """For each node the number of loops and branches, one after the other, that must end before it can run."""
    made_at: dict[ir.Value, int] = {}
    levels = {}
    for node in nodes:
        levels[node] = max((made_at.get(value, 0) for value in reads[node]), default=0)
        made_at |= dict.fromkeys(node.outputs, levels[node] + _is_cut(node))
    return levels


def _is_loop(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type == "Loop"


def _is_cut(node: ir.Node) -> bool:
    """Whether the program takes the place of a node: of a Loop, and of an If with a Loop inside."""
    return _is_loop(node) or any(_is_loop(inner) for inner in _inside(node))


def _body(node: ir.Node) -> ir.Graph:
    (body,) = bodies(node)
    return body


def _inside(node: ir.Node) -> list[ir.Node]:
    """The nodes of the subgraphs of a node, and of their subgraphs."""
    return [inner for body in bodies(node) for inner in body.all_nodes()]


def _source(value: ir.Value) -> ir.Value | None:
    """The value of which a value is a copy: the input of the Cast or Identity that makes it."""
    maker = value.producer()
    return maker.inputs[0] if maker is not None and maker.op_type in ("Cast", "Identity") else value
