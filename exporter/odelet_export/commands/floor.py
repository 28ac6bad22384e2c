"""The floor of a model: each solve is replaced by a straight chain of evaluations of its field, in one graph.

The law here: the floor is made from the artifact alone, without torch, so that it can be timed where the artifact runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from odelet.artifact.card import Card, Tensor
from odelet.artifact.folder import GraphBytes, check
from odelet.artifact.program_steps import DriveStep, RunStep
from odelet.artifact.solve_card import SolveCard
from odelet.engine.ending import run_options
from odelet.engine.failures import one_line
from odelet.engine.session import open_session
from odelet.errors import ArtifactError
from odelet_export.commands.merged_graph import FloorError, Merged, Values
from odelet_export.graphs.nodes import copy_nodes, name_inner_values, read_by
from odelet_export.graphs.unused import remove_unused


class Floor:
    """A model whose solves are chains y, f(t, y), f(t, f(t, y)), ..., ready to run.

    path: the artifact. evaluations: the length of each chain, by index of the solve. The end of the chain is the state
    at all output times of the solve. A part of the state that the field does not read is instead the sum of its slopes.
    inputs: names of the model's inputs. Raises FloorError for a solve whose card names no copy of its field, and where
    the floor does not load, ArtifactError where the card names a copy that is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        evaluations: Mapping[int, int],
        *,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        checked = check(path)
        graphs = {name: _read(source) for name, source in checked.graphs.items()}
        try:
            self.model = _build(checked.card, graphs, evaluations)
        except (KeyError, ValueError) as error:  # of onnx_ir, or of a name that no graph has
            raise ArtifactError(
                f"the card's `piece` of a solve does not fit its graphs ({one_line(error)}); export the model again"
            ) from error
        self.inputs = [tensor.name for tensor in checked.card.inputs]
        self._times = {
            str(value.name): value.dtype.numpy()
            for value in self.model.graph.inputs[len(self.inputs) :]
            if value.dtype is not None
        }
        self.model_bytes = ir.to_proto(self.model).SerializeToString()
        try:
            self.session = open_session(
                self.model_bytes, device=device, threads=threads, name="the floor", work=checked.card.work
            )
        except ArtifactError as error:
            raise FloorError(str(error)) from error

    def feeds(self, values: Mapping[str, np.ndarray], *, t: float = 0.5) -> dict[str, np.ndarray]:
        """The arrays by name that `session.run` takes. values: the model's inputs. t: the time of all evaluations."""
        inputs = {name: values[name] for name in self.inputs}
        return inputs | {name: np.array(t, dtype) for name, dtype in self._times.items()}


def _read(source: GraphBytes) -> ir.Model:
    """A checked graph, with its weights in it."""
    model: ir.Model = ir.from_proto(onnx.ModelProto.FromString(source.data))
    for name, weight in source.weights.items():
        dtype = ir.DataType(weight.kind)
        model.graph.initializers[name].const_value = ir.Tensor(weight.array.view(dtype.numpy()), dtype, name=name)
    return model


def _build(card: Card, graphs: Mapping[str, ir.Model], evaluations: Mapping[int, int]) -> ir.Model:
    if not all(isinstance(step, (RunStep, DriveStep)) for step in card.program):
        raise FloorError(
            "there is no floor for a program with loops; measure the same model with its loops in the graph"
        )
    for solve in card.solves:
        if solve.piece is None:
            raise FloorError(
                f"solve {solve.index} has no floor: its card names no copy of its field; solves that end at an event, "
                "those with steps for each sample and those of SDEs have none, others have one if they are exported "
                "again"
            )
        if solve.piece.graph not in graphs:
            raise KeyError(solve.piece.graph)
    first = next(iter(graphs.values()))
    merged = Merged(first.graph.opset_imports)
    values: Values = {}
    for tensor in card.inputs:
        values[tensor.name] = ir.Value(name=tensor.name, type=_type_of(tensor), shape=ir.Shape(tensor.shape))
        merged.graph.inputs.append(values[tensor.name])
    for step in card.program:
        if isinstance(step, RunStep):
            inside = [solve for solve in card.solves if solve.piece is not None and solve.piece.graph == step.run]
            _run(merged, graphs[step.run].graph, values, inside, evaluations)
        elif isinstance(step, DriveStep):
            _drive(merged, graphs, values, card.solves[step.drive], evaluations)
    for tensor in card.outputs:
        # The same value can be an input of the model, or two of its outputs.
        output = merged.call("Identity", values[tensor.name])
        output.type, output.shape = _type_of(tensor), ir.Shape(tensor.shape)
        merged.graph.outputs.append(output)
    model = ir.Model(merged.graph, ir_version=first.ir_version)
    remove_unused(model)
    model.graph.sort()
    passes.NameFixPass()(model)
    name_inner_values(model.graph)
    return model


def _type_of(tensor: Tensor) -> ir.TensorType:
    return ir.TensorType(ir.DataType.from_numpy(np.dtype(tensor.dtype)))


def _run(
    merged: Merged,
    graph: ir.Graph,
    values: Values,
    solves: Sequence[SolveCard],
    evaluations: Mapping[int, int],
) -> None:
    """Move a graph of the program into the merged graph, and put chains in the places of its solves."""
    outputs = list(graph.outputs)
    names = [str(value.name) for value in outputs]
    inner = merged.absorb(graph, values)
    replaced: dict[ir.Value, ir.Value] = {}
    for solve in solves:
        piece = solve.piece
        assert piece is not None
        y0 = [inner[name] for name in piece.y0]
        end = _chain(merged, solve, inner, [replaced.get(y, y) for y in y0], evaluations[solve.index])
        times = inner[piece.times] if isinstance(piece.times, str) else piece.times
        for name, y in zip(piece.solution, end, strict=True):
            if name is None:
                continue
            solution = inner[name]
            replaced[solution] = merged.at_all_times(y, times)
            ir.convenience.replace_all_uses_with(solution, replaced[solution])
    values |= {name: replaced.get(value, value) for name, value in zip(names, outputs, strict=True)}


def _drive(
    merged: Merged, graphs: Mapping[str, ir.Model], values: Values, solve: SolveCard, evaluations: Mapping[int, int]
) -> None:
    """Put a chain in the place of a driven solve."""
    piece, drive = solve.piece, solve.drive
    assert piece is not None and drive is not None
    y0 = [values[name] for name in drive.y0]
    shapes = {f"shape.{i}": merged.call("Shape", y) for i, y in enumerate(y0)}
    captured = {name: values[name] for name in drive.captured}
    inner = merged.absorb(graphs[piece.graph].graph, captured | shapes)
    end = _chain(merged, solve, inner, y0, evaluations[solve.index])
    times = None if drive.t is None else values[drive.t]
    for name, y in zip(drive.solution, end, strict=True):
        values[name] = merged.at_all_times(y, times)


def _chain(merged: Merged, solve: SolveCard, values: Values, y0: list[ir.Value], count: int) -> list[ir.Value]:
    """The state at the end of `count` evaluations, each at the slopes of the evaluation before.

    values: the values of the graph that has the copy of the field, by name. y0: the state at the start, a value for
    each part.
    """
    piece = solve.piece
    assert piece is not None
    replaced: dict[ir.Value, ir.Value] = {}
    if piece.t is not None:
        t = values[piece.t]
        if t.dtype is None or (t.shape is not None and len(t.shape) > 0):
            raise FloorError(f"solve {solve.index} has no floor: its field takes a time for each sample")
        # The time is an input; if it were a constant, ONNX Runtime would fold all values that the field computes from
        # it when the graph is loaded.
        replaced[t] = ir.Value(name=f"floor.t_{solve.index}", type=t.type, shape=ir.Shape([]))
        merged.graph.inputs.append(replaced[t])
    takes = [None if name is None else values[name] for name in piece.y]
    gives = [values[name] for name in piece.k]
    nodes = _between([*replaced, *(value for value in takes if value is not None)], gives)
    inside = {output for node in nodes for output in node.outputs} | {*replaced, *takes}
    read = [value for node in nodes for value in read_by(node)]
    replaced |= merged.hoisted(dict.fromkeys(value for value in [*read, *gives] if value not in inside), solve.index)
    y = y0
    for _ in range(count):
        replaced |= {take: now for take, now in zip(takes, y, strict=True) if take is not None}
        copied, _ = copy_nodes(nodes, gives, replaced, merged.graph)
        slopes = [copied.get(k, replaced.get(k, k)) for k in gives]
        # The slopes of a part that the field does not read, such as a log-density, are added: else no node would read
        # them, and they would be removed.
        y = [merged.call("Add", now, k) if take is None else k for take, now, k in zip(takes, y, slopes, strict=True)]
    return y


def _between(starts: Iterable[ir.Value], ends: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes of a graph that lie between some values and others that depend on them, in order."""
    homes = {node.graph for end in ends if (node := end.producer()) is not None}
    inside, dependent = set(starts), []
    for home in homes:
        for node in home if home is not None else ():
            if not inside.isdisjoint(read_by(node)):
                inside.update(node.outputs)
                dependent.append(node)
    needed, between = set(ends) - set(starts), []
    for node in reversed(dependent):
        if not needed.isdisjoint(node.outputs):
            needed |= set(read_by(node)) - set(starts)
            between.append(node)
    return between[::-1]


def floor_call(
    path: str | os.PathLike[str],
    evaluations: Mapping[int, int],
    values: Mapping[str, np.ndarray],
    *,
    device: str,
    threads: int,
) -> Callable[[], list[np.ndarray]]:
    """Build the floor, and return a function that runs it on these inputs, for `odelet bench`."""
    floor = Floor(path, evaluations, device=device, threads=threads)
    feeds = floor.feeds(values)
    return lambda: floor.session.run(None, feeds, run_options())
