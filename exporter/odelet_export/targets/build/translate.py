"""Reads the program of an artifact, graph by graph, into instructions.

The law here: each array has one shape, known before any input; what would depend on an input's numbers is refused, and
the refusal names the node and, where the graph holds it, the user's line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from odelet.artifact.card import Card, Tensor
from odelet.artifact.folder import Checked, GraphBytes
from odelet.artifact.program_steps import BranchStep, DriveStep, LoopStep, ProgramStep, RunStep
from odelet_export.targets.build.built import BuildError
from odelet_export.targets.build.graph_nodes import Names, Reader
from odelet_export.targets.build.instructions import (
    Block,
    Carried,
    Choice,
    Copy,
    Loop,
    Row,
    Section,
    Seen,
    Stored,
    Value,
)


@dataclass(frozen=True)
class Setting:
    """A setting of solves. name: of the graphs' input. key: what it sets, such as "rtol". default: as exported."""

    name: str
    key: str
    value: Value
    default: np.ndarray[Any, Any]


@dataclass
class Program:
    """The program of an artifact. inputs: the values that the caller gives, by name. settings: those that have
    defaults. outputs: where the caller takes the outputs. reports: what the solves report, by
    name; and the assumptions that were checked."""

    card: Card
    body: Block
    inputs: dict[str, Value]
    settings: list[Setting]
    outputs: dict[str, tuple[Value, Tensor]]
    reports: dict[str, Stored]


def translated(checked: Checked, *, dtypes: Sequence[str], profile: str, reports: bool = False) -> Program:
    """The program of an artifact. dtypes: those that the target has. profile: for the advice of refusals.
    reports: whether what solves report, and the assumptions, are outputs too.

    Raises BuildError for what no target with memory of fixed size can have.
    """
    card = checked.card
    for tensor in (*card.inputs, *card.outputs):
        axes = [size for size in tensor.shape if isinstance(size, str)]
        if axes and tensor in card.inputs:
            raise BuildError(
                f"the input {tensor.name!r} has the dynamic axis {axes[0]!r}, and this target's memory is of fixed "
                f"size; export the model again without `dynamic`, and with --profile {profile}"
            )
    return _Translation(checked, dtypes, profile).program(reports=reports)


class _Translation:
    def __init__(self, checked: Checked, dtypes: Sequence[str], profile: str) -> None:
        self._card, self._graphs, self._profile, self._dtypes = checked.card, checked.graphs, profile, dtypes
        self._protos = {file: _proto(graph) for file, graph in checked.graphs.items()}

    def program(self, *, reports: bool) -> Program:
        card, names = self._card, Names()
        inputs = {tensor.name: self._value(tensor) for tensor in card.inputs}
        for tensor in card.inputs:
            names[tensor.name] = Seen(inputs[tensor.name], tuple(int(size) for size in tensor.shape))
        settings = self._settings(names)
        body = self._block(card.program, names)
        outputs = {}
        for tensor in card.outputs:
            seen = names[tensor.name]
            if seen.dtype != tensor.dtype or not tensor.takes(seen.dtype, seen.shape):
                raise BuildError(
                    f"the output {tensor.name!r} is {seen.dtype} {list(seen.shape)}; the card says {tensor}"
                )
            value = Value(tensor.name, seen.dtype, seen.stored.size)
            body.append(Copy(seen.stored, value))
            outputs[tensor.name] = (value, Tensor(name=tensor.name, dtype=tensor.dtype, shape=seen.shape))
        told = [name for solve in card.solves for name in solve.report.values()]
        told += [one.output for one in card.assumptions if one.output]
        for name in told if reports else ():
            seen = names[name]
            value = Value(name, seen.dtype, seen.stored.size)
            body.append(Copy(seen.stored, value))
            outputs[name] = (value, Tensor(name=name, dtype=seen.dtype.name, shape=seen.shape))
        return Program(card, body, inputs, settings, outputs, {name: names[name].stored for name in told})

    def _value(self, tensor: Tensor) -> Value:
        if tensor.dtype not in self._dtypes:
            raise BuildError(
                f"the input {tensor.name!r} is {tensor.dtype}, which this target does not have; it has "
                f"{', '.join(self._dtypes)}"
            )
        size = int(np.prod([int(size) for size in tensor.shape], dtype=np.int64))
        return Value(tensor.name, np.dtype(tensor.dtype), size)

    def _settings(self, names: Names) -> list[Setting]:
        """The inputs of graphs that have defaults."""
        keys = {name: key for solve in self._card.solves for key, name in solve.settings.items()}
        settings = []
        for proto in self._protos.values():
            given = {value.name for value in proto.graph.input}
            for tensor in proto.graph.initializer:
                if tensor.name in given and tensor.name not in names:
                    default = numpy_helper.to_array(tensor)
                    value = Value(tensor.name, default.dtype, default.size)
                    settings.append(Setting(tensor.name, keys.get(tensor.name, tensor.name), value, default))
                    names[tensor.name] = Seen(value, default.shape)
        return settings

    def _block(self, steps: Sequence[ProgramStep], names: Names) -> Block:
        block: Block = []
        for step in steps:
            match step:
                case RunStep():
                    block.append(self._run(step, names))
                case LoopStep():
                    self._loop(step, names, block)
                case BranchStep():
                    self._branch(step, names, block)
                case DriveStep():
                    solve = self._card.solves[step.drive]
                    raise BuildError(
                        f"the solve at {solve.source or 'an unknown line'} has the form {solve.form}, which runs in "
                        f"Python alone; export the model again with --profile {self._profile}"
                    )
        return block

    def _run(self, step: RunStep, names: Names) -> Section:
        proto = self._protos[step.run]
        reader = Reader(step.run, proto, self._dtypes, self._profile)
        given = Names()
        for value in proto.graph.input:
            given[value.name] = names[value.name]
        section = Section(step.run.removesuffix(".onnx"), [])
        made = reader.read(proto.graph, given, section.body)
        for value, seen in zip(proto.graph.output, made, strict=True):
            names[value.name] = seen
        return section

    def _loop(self, loop: LoopStep, names: Names, block: Block) -> None:
        most = names[loop.most] if loop.most is not None else None
        go_on = names[loop.go_on] if loop.go_on is not None else None
        turn, carried = Names(names), []
        for card in loop.carried:
            start = names[card.start]
            pair = Carried(_like(start, card.turn), _like(start, card.after))
            block.append(Copy(start.stored, pair.now))
            carried.append(pair)
            turn[card.turn] = Seen(pair.now, start.shape)
        iteration = None
        if loop.iteration is not None:
            iteration = Value(loop.iteration, np.dtype(np.int64), 1)
            turn[loop.iteration] = Seen(iteration, ())
        body = self._block(loop.repeat, turn)
        for card, pair in zip(loop.carried, carried, strict=True):
            after = turn[card.after]
            if after.shape != turn[card.turn].shape or after.dtype != pair.now.dtype:
                raise self._varying(loop, f"carries {card.turn!r}, whose shape changes from turn to turn")
            body.append(Copy(after.stored, pair.after))
        again = turn[loop.again].stored if loop.again is not None else None
        rows = self._rows(loop, most, turn, names, body)
        block.append(Loop(body, _stored(most), _stored(go_on), again, iteration, carried, rows))
        for card, pair in zip(loop.carried, carried, strict=True):
            if card.result is not None:
                shape = turn[card.turn].shape
                result = Value(card.result, pair.now.dtype, pair.now.size)
                block.append(Copy(pair.now, result))
                names[card.result] = Seen(result, shape)

    def _rows(self, loop: LoopStep, most: Seen | None, turn: Names, names: Names, body: Block) -> list[Row]:
        """What a loop collects, which has a fixed size where the number of turns is constant."""
        rows = []
        go_on = loop.go_on is None or names[loop.go_on].constant is not None
        for card in loop.stacked:
            count = None if most is None else most.constant
            if count is None or loop.again is not None or not go_on:
                raise self._varying(loop, f"collects {card.made!r} in each of a number of turns that is not constant")
            made = turn[card.made]
            row = _like(made, card.made)
            stack = Value(card.result, made.dtype, made.stored.size * int(count))
            body.append(Copy(made.stored, row))
            rows.append(Row(row, stack))
            names[card.result] = Seen(stack, (int(count), *made.shape))
        return rows

    def _varying(self, loop: LoopStep, what: str) -> BuildError:
        solve = self._card.solves[loop.solve].source if loop.solve is not None else ""
        graphs = ", ".join(dict.fromkeys(loop.graph_files))
        at = f" of the solve at {solve}" if solve else ""
        return BuildError(
            f"the loop{at} ({graphs}) {what}, and this target's memory is of fixed size; export the model again with "
            f"--profile {self._profile}"
        )

    def _branch(self, step: BranchStep, names: Names, block: Block) -> None:
        inner = [Names(names), Names(names)]
        blocks = [self._block(steps, one) for steps, one in zip((step.then, step.otherwise), inner, strict=True)]
        for card in step.chosen:
            seen = [one[name] for one, name in zip(inner, (card.then, card.otherwise), strict=True)]
            if seen[0].shape != seen[1].shape or seen[0].dtype != seen[1].dtype:
                raise BuildError(f"a branch of the program makes {card.result!r} in two shapes, which no target has")
            result = _like(seen[0], card.result)
            for body, one in zip(blocks, seen, strict=True):
                body.append(Copy(one.stored, result))
            names[card.result] = Seen(result, seen[0].shape)
        block.append(Choice(names[step.choose].stored, *blocks))


def _stored(seen: Seen | None) -> Stored | None:
    return None if seen is None else seen.stored


def _like(seen: Seen, name: str) -> Value:
    return Value(name, seen.dtype, seen.stored.size)


def _proto(graph: GraphBytes) -> onnx.ModelProto:
    """The graph of a file, with the weights that lie in another one."""
    proto: onnx.ModelProto = onnx.ModelProto.FromString(graph.data)
    for tensor in proto.graph.initializer:
        weight = graph.weights.get(tensor.name)
        if weight is not None:
            name = tensor.name
            tensor.Clear()
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(weight.array), name))
    return proto
