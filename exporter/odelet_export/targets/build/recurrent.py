"""Recurrent layers that read forwards, in the place of those that read backwards or both ways.

emx-onnx-cgen 1.4.0 has all directions, and yet refuses a layer that names one, also the usual one: it compares the
bytes of the attribute with text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from odelet_export.targets.build.instructions import Seen
from odelet_export.targets.build.operators import Array

# The inputs whose first axis counts directions: the weights, the bias, the first states.
_BY_DIRECTION = (1, 2, 3, 5, 6, 7)
_LENGTHS = 4


def forward_layers(
    node: onnx.NodeProto, inputs: Sequence[Seen | None]
) -> tuple[list[onnx.NodeProto], dict[str, Array]] | None:
    """The nodes of the same results, with layers that read forwards alone. None where the layer names no direction, or
    where the series have lengths of their own."""
    named = [one for one in node.attribute if one.name == "direction"]
    if not named:
        return None
    direction = named[0].s.decode()
    if direction == "forward":
        return [_without_direction(node, node.input, node.output)], {}
    series = inputs[0]
    if series is None:
        return None
    has_lengths = len(inputs) > _LENGTHS and inputs[_LENGTHS] is not None
    if has_lengths or any(one.name == "layout" and one.i for one in node.attribute):
        return None
    backwards = {"reverse": (True,), "bidirectional": (False, True)}[direction]
    first = next(name for name in node.output if name)
    turned = f"{first}.backwards"
    constants: dict[str, Array] = {turned: np.arange(series.shape[0])[::-1].copy()}
    nodes = [helper.make_node("Gather", [node.input[0], turned], [f"{turned}.series"], axis=0)]
    outputs: list[list[str]] = [[] for _ in node.output]
    for place, is_backwards in enumerate(backwards):
        constants[f"{first}.direction_{place}"] = np.array([place])
        layer, made = _layer(node, place, len(backwards), f"{turned}.series" if is_backwards else node.input[0])
        nodes += layer
        if is_backwards and made[0]:
            nodes.append(helper.make_node("Gather", [made[0], turned], [f"{made[0]}.turned"], axis=0))
            made[0] = f"{made[0]}.turned"
        for names, name in zip(outputs, made, strict=True):
            names.append(name)
    for number, (result, names) in enumerate(zip(node.output, outputs, strict=True)):
        if result:
            nodes.append(helper.make_node("Concat", names, [result], axis=0 if number else 1))
    return nodes, constants


def _layer(node: onnx.NodeProto, place: int, count: int, series: str) -> tuple[list[onnx.NodeProto], list[str]]:
    """A layer of one direction, and the names of its outputs. place: of the direction, of `count`."""
    first = next(name for name in node.output if name)
    nodes, read = [], [series, *node.input[1:]]
    for number in _BY_DIRECTION if count > 1 else ():
        if number < len(read) and read[number]:
            name = f"{first}.input_{number}_{place}"
            nodes.append(helper.make_node("Gather", [read[number], f"{first}.direction_{place}"], [name], axis=0))
            read[number] = name
    made = [f"{name}.of_{place}" if name else "" for name in node.output]
    layer = _without_direction(node, read, made)
    activations = [one for one in layer.attribute if one.name == "activations"]
    for one in activations:
        each = len(one.strings) // count
        one.strings[:] = one.strings[place * each : (place + 1) * each]
    return [*nodes, layer], made


def _without_direction(node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.NodeProto:
    made = helper.make_node(node.op_type, inputs, outputs)
    made.attribute.extend(one for one in node.attribute if one.name != "direction")
    return made
