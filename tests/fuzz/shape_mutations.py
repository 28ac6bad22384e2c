"""Mutations of the shape of an output, in such a way that nobody can know it before the graph runs."""

from __future__ import annotations

from random import Random

import onnx
from onnx import TensorProto, helper

SHAPES = ([], [0], [1], [2], [3], [7], [1, 1], [1, 2], [2, 3], [4, 1], [0, 3], [1, 1, 1], [100_000])


def reshaped(graph: onnx.GraphProto, random: Random) -> str:
    """Give an output of a graph, or of a body, another shape; what the graph states of it may stay."""
    if not graph.output:
        return "nothing"
    output, shape, stated = random.choice(graph.output), random.choice(SHAPES), random.random() < 0.7
    if not stated:
        output.type.tensor_type.ClearField("shape")
    given_shape(graph, output.name, shape)
    return f"{output.name!r} has the shape {shape}, {'against' if stated else 'without'} what is stated"


def given_shape(graph: onnx.GraphProto, name: str, shape: list[int]) -> None:
    """Give an output, by name, this shape when the graph runs."""
    before = f"{name}.before"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [before if other == name else other for other in names]
    kinds = [output.type.tensor_type.elem_type for output in graph.output if output.name == name]
    graph.node.extend(_nodes(name, before, shape, kinds[0]))


def _nodes(name: str, before: str, shape: list[int], kind: int) -> list[onnx.NodeProto]:
    """The nodes that make an output of the largest number of what it was. kind: its type of elements."""
    cast, flat, largest, zero, sizes, wide = (
        f"{name}.{word}" for word in ("cast", "flat", "max", "0", "sizes", "wide")
    )
    minus, wanted = (f"{name}.{word}" for word in ("minus", "wanted"))
    return [
        helper.make_node("Cast", [before], [cast], to=TensorProto.FLOAT),
        _constant(minus, [-1]),
        helper.make_node("Reshape", [cast, minus], [flat]),
        helper.make_node("ReduceMax", [flat], [largest], keepdims=0),
        # A zero that only computing tells: the sizes of what comes after it are known to nobody.
        helper.make_node("IsNaN", [largest], [f"{zero}.nan"]),
        helper.make_node("Cast", [f"{zero}.nan"], [f"{zero}.whole"], to=TensorProto.INT64),
        helper.make_node("Sub", [f"{zero}.whole", f"{zero}.whole"], [zero]),
        _constant(wanted, shape),
        helper.make_node("Add", [wanted, zero], [sizes]),
        helper.make_node("Expand", [largest, sizes], [wide]),
        helper.make_node("Cast", [wide], [name], to=kind),
    ]


def _constant(name: str, numbers: list[int]) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, TensorProto.INT64, [len(numbers)], numbers)
    return helper.make_node("Constant", [], [name], value=tensor)
