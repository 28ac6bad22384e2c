"""The batch first: the first axis of every input and output of a graph counts samples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet.artifact.card import Card, Tensor
from odelet.artifact.samples import Sample

_COUNT = "odelet.samples"


@dataclass(frozen=True)
class BatchFirst:
    """How a graph and its arrays become those with samples first. card: of the artifact. axis: the name of the axis
    that counts samples, in the card's shapes."""

    card: Card
    axis: str

    def seen(self, sample: Sample) -> Sample:
        """A sample of the artifact, as the changed graph has it."""
        inputs, outputs, allowed = sample
        tensor = self.card.inputs[0]
        count = inputs[tensor.name].shape[tensor.shape.index(self.axis)]
        return (
            {x.name: self._moved(x, inputs[x.name], count) for x in self.card.inputs},
            {x.name: self._moved(x, outputs[x.name], count) for x in self.card.outputs},
            allowed,
        )

    def _moved(self, tensor: Tensor, array: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
        if self.axis in tensor.shape:
            return np.ascontiguousarray(np.moveaxis(array, tensor.shape.index(self.axis), 0))
        return np.repeat(array[None], count, axis=0)

    def change(self, model: ir.Model) -> None:
        """Change the graph of the artifact, in place. Reports and assumptions get a number for each sample, too."""
        graph = model.graph
        values = {value.name: value for value in graph.inputs}
        count = _count(graph, values[self.card.inputs[0].name], self.card.inputs[0].shape.index(self.axis))
        for tensor in self.card.inputs:
            place = tensor.shape.index(self.axis)
            if place:
                _take_moved(graph, values[tensor.name], place)
        outputs = {tensor.name: tensor for tensor in self.card.outputs}
        for position, value in enumerate(list(graph.outputs)):
            told = outputs.get(str(value.name))
            if told is None:
                # A number, or a row with one or with as many as there are samples.
                node = ir.Node("", "Expand", [value, count])
                _give(graph, position, [node], [self.axis])
            elif self.axis not in told.shape:
                _give(graph, position, _repeated(graph, value, count, len(told.shape)), [self.axis, *told.shape])
            elif place := told.shape.index(self.axis):
                order = [place, *(i for i in range(len(told.shape)) if i != place)]
                node = ir.Node("", "Transpose", [value], [ir.AttrInt64s("perm", order)])
                _give(graph, position, [node], [told.shape[i] for i in order])


def batch_first(card: Card) -> BatchFirst | str:
    """How the graph of an artifact gets its samples first; or a clause, why it cannot.

    Every input needs the axis that counts them. An output without the axis is the same for all samples, and is repeated
    for each. A size that is computed from the axis, as 2*batch, cannot be divided among samples.
    """
    if not card.inputs:
        return "the model has no inputs"
    first = card.inputs[0]
    reasons = [f"the input {first.name!r} has no dynamic axis; export the model with one that counts samples"]
    for axis in dict.fromkeys(size for size in first.shape if isinstance(size, str)):
        lacking = [tensor.name for tensor in card.inputs if tensor.shape.count(axis) != 1]
        others = [x.name for x in (*card.inputs, *card.outputs) if x.shape.count(axis) > 1 or _computed(x.shape, axis)]
        if not lacking and not others:
            return BatchFirst(card, axis)
        reasons.append(
            f"the input {lacking[0]!r} does not have the axis {axis!r}"
            if lacking
            else f"{others[0]!r} has a size that is computed from the axis {axis!r}"
        )
    return reasons[-1]


def _computed(shape: Iterable[int | str], axis: str) -> bool:
    sizes = [size for size in shape if isinstance(size, str) and size != axis]
    return any(re.search(rf"\b{re.escape(axis)}\b", size) for size in sizes)


def _count(graph: ir.Graph, value: ir.Value, place: int) -> ir.Value:
    """The number of samples, a row of one number. place: of the axis of an input that counts them."""
    node = ir.Node("", "Shape", [value], [ir.AttrInt64("start", place), ir.AttrInt64("end", place + 1)])
    _named(node, _COUNT, ir.DataType.INT64, [1])
    first = next(iter(graph), None)
    if first is None:
        graph.append(node)
    else:
        graph.insert_before(first, node)
    return node.outputs[0]


def _take_moved(graph: ir.Graph, value: ir.Value, place: int) -> None:
    """Have the graph take an input with the axis at `place` first."""
    assert value.shape is not None and value.dtype is not None
    name, shape = str(value.name), list(value.shape)
    given = ir.Value(name=name, type=value.type, shape=ir.Shape([shape[place], *shape[:place], *shape[place + 1 :]]))
    order = [*range(1, place + 1), 0, *range(place + 1, len(shape))]
    node = ir.Node("", "Transpose", [given], [ir.AttrInt64s("perm", order)])
    _named(node, f"{name}.in_order", value.dtype, shape)
    ir.convenience.replace_all_uses_with(value, node.outputs[0])
    graph.insert_before(graph[0], node)
    graph.inputs[list(graph.inputs).index(value)] = given


def _repeated(graph: ir.Graph, value: ir.Value, count: ir.Value, rank: int) -> list[ir.Node]:
    """Nodes that repeat an output for each sample."""
    name = f"{value.name}.axes"
    axes = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.INT64),
        shape=ir.Shape([rank]),
        const_value=ir.tensor(np.ones(rank, np.int64), name=name),
    )
    graph.register_initializer(axes)
    shape = ir.Node("", "Concat", [count, axes], [ir.AttrInt64("axis", 0)])
    _named(shape, f"{value.name}.repeated", ir.DataType.INT64, [rank + 1])
    return [shape, ir.Node("", "Expand", [value, shape.outputs[0]])]


def _give(graph: ir.Graph, position: int, nodes: Sequence[ir.Node], shape: Sequence[int | str | None]) -> None:
    """Have the last of some nodes make the output at a position, which has the name of the output there."""
    value = graph.outputs[position]
    assert value.dtype is not None
    name = str(value.name)
    value.name = f"{name}.in_order"
    graph.extend(nodes)
    _named(nodes[-1], name, value.dtype, shape)
    graph.outputs[position] = nodes[-1].outputs[0]


def _named(node: ir.Node, name: str, dtype: ir.DataType, shape: Sequence[object]) -> None:
    value = node.outputs[0]
    value.name, value.type = name, ir.TensorType(dtype)
    value.shape = ir.Shape(shape)  # type: ignore[arg-type]  # sizes, names of axes, or None
