"""Nodes in the place of others, with the same results, where all shapes are known.

What is replaced are nodes that generators of code lack, or write slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper

from odelet_export.targets.build.einsums import as_products
from odelet_export.targets.build.instructions import Seen
from odelet_export.targets.build.operators import Array
from odelet_export.targets.build.recurrent import forward_layers
from odelet_export.targets.build.upsampling import patches

# Nodes, and constants that they read, by name.
Nodes: TypeAlias = tuple[list[onnx.NodeProto], dict[str, Array]]


def equal_nodes(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """The nodes that take the place of one; None where it stays. inputs: what the node reads."""
    rewrite = _REWRITES.get(node.op_type) if node.domain == "" else None
    made = rewrite(node, inputs) if rewrite is not None else None
    if made is not None:
        for one in made[0]:
            one.name = node.name
            one.metadata_props.extend(node.metadata_props)
    return made


def _backward(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """A Slice with steps below 0 takes the elements by their places."""
    data, limits = inputs[0], _constants(inputs[1:])
    if data is None or len(limits) < 4 or any(limits[place] is None for place in (0, 1, 3)):
        return None
    starts, ends, axes, steps = (None if x is None else x.tolist() for x in limits)
    assert starts is not None and ends is not None and steps is not None
    if min(steps) > 0:
        return None
    nodes, constants = [], {}
    source, result = node.input[0], node.output[0]
    for number, axis in enumerate(range(len(starts)) if axes is None else axes):
        places = f"{result}.places_{number}"
        constants[places] = np.arange(data.shape[axis])[starts[number] : ends[number] : steps[number]]
        taken = result if number == len(starts) - 1 else f"{places}.taken"
        nodes.append(helper.make_node("Gather", [source, places], [taken], axis=axis))
        source = taken
    return nodes, constants


def _cropped(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """A Pad by numbers below 0 crops first, and then pads by the others."""
    data, limits = inputs[0], _constants(inputs[1:])
    pads, axes = limits[0], limits[2] if len(limits) > 2 else None
    absent = len(limits) < 3 or inputs[3] is None
    if data is None or pads is None or (pads >= 0).all() or (axes is None and not absent):
        return None
    begins, ends = np.split(pads, 2)
    along = np.arange(len(data.shape)) if axes is None else axes % len(data.shape)
    sizes = np.array(data.shape)[along]
    result = node.output[0]
    constants = {
        f"{result}.from": np.maximum(-begins, 0),
        f"{result}.to": sizes + np.minimum(ends, 0),
        f"{result}.along": along,
        f"{result}.pads": np.maximum(pads, 0),
    }
    crop = helper.make_node("Slice", [node.input[0], *list(constants)[:3]], [f"{result}.cropped"])
    pad = onnx.NodeProto()
    pad.CopyFrom(node)
    del pad.metadata_props[:]
    pad.input[0], pad.input[1] = crop.output[0], f"{result}.pads"
    return [crop, pad], constants


def _products(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """An Einsum is products of matrices."""
    equation = next(one.s.decode() for one in node.attribute if one.name == "equation")
    shapes = [seen.shape for seen in inputs if seen is not None]
    made = as_products(equation, node.input, shapes, node.output[0])
    return None if made is None else (made.nodes, made.constants)


def _power(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """A power of 2 or 3 is products, as in torch."""
    exponent, x, result = _constants(inputs)[1], node.input[0], node.output[0]
    # An exponent of more axes could add axes to the result.
    if exponent is None or exponent.ndim or exponent.item() not in (2, 3):
        return None
    if exponent == 2:
        return [helper.make_node("Mul", [x, x], [result])], {}
    square = f"{result}.square"
    return [helper.make_node("Mul", [x, x], [square]), helper.make_node("Mul", [square, x], [result])], {}


def _constants(inputs: Sequence[Seen | None]) -> list[Array | None]:
    return [None if seen is None else seen.constant for seen in inputs]


def _times_zero(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """A product with 0 is NaN for infinity and NaN, and 0 for other numbers. Compilers that need not keep the sign of
    zero take it for 0 at all times."""
    for place in (0, 1):
        zero, other = inputs[place], inputs[1 - place]
        if zero is None or other is None or zero.constant is None or other.constant is not None:
            continue
        numbers = zero.constant
        if numbers.dtype.kind != "f" or numbers.size != 1 or numbers.ndim > len(other.shape) or numbers.any():
            continue
        x, result = node.input[1 - place], node.output[0]
        nan, inf, either, none, some = (f"{result}.{name}" for name in ("nan", "inf", "either", "zero", "not_a_number"))
        constants = {none: np.zeros((), numbers.dtype), some: np.full((), np.nan, numbers.dtype)}
        return [
            helper.make_node("IsNaN", [x], [nan]),
            helper.make_node("IsInf", [x], [inf]),
            helper.make_node("Or", [nan, inf], [either]),
            helper.make_node("Where", [either, some, none], [result]),
        ], constants
    return None


def _log_of_sum(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """The logarithm of a sum of exponentials takes out the largest exponent first, so that no power overflows."""
    data = inputs[0]
    given = inputs[1] if len(inputs) > 1 else None
    if data is None or (given is not None and given.constant is None):
        return None
    numbers = {attribute.name: attribute.i for attribute in node.attribute}
    if given is None and numbers.get("noop_with_empty_axes"):
        return None
    x, result = node.input[0], node.output[0]
    axes, zero = f"{result}.axes", f"{result}.zero"
    along = np.arange(len(data.shape)) if given is None or given.constant is None else given.constant
    constants = {axes: np.asarray(along, np.int64), zero: np.zeros((), data.dtype)}
    parts = ("largest", "inf", "taken", "rest", "powers", "sum", "log", "kept")
    largest, inf, taken, rest, powers, total, log, kept = (f"{result}.{name}" for name in parts)
    keeps = numbers.get("keepdims", 1)
    nodes = [
        helper.make_node("ReduceMax", [x, axes], [largest], keepdims=1),
        helper.make_node("IsInf", [largest], [inf]),
        helper.make_node("Where", [inf, zero, largest], [taken]),
        helper.make_node("Sub", [x, taken], [rest]),
        helper.make_node("Exp", [rest], [powers]),
        helper.make_node("ReduceSum", [powers, axes], [total], keepdims=1),
        helper.make_node("Log", [total], [log]),
        helper.make_node("Add", [log, taken], [result if keeps else kept]),
    ]
    return [*nodes, *([] if keeps else [helper.make_node("Squeeze", [kept, axes], [result])])], constants


def _rectified(node: onnx.NodeProto, inputs: Sequence[Seen | None]) -> Nodes | None:
    """The larger of a number and 0, by the operator whose code keeps NaN."""
    data = inputs[0]
    if data is None:
        return None
    zero = f"{node.output[0]}.zero"
    made = helper.make_node("Max", [node.input[0], zero], [node.output[0]])
    return [made], {zero: np.zeros((), data.dtype)}


def _all_outputs(node: onnx.NodeProto, _inputs: Sequence[Seen | None]) -> Nodes | None:
    """A node has all its outputs: emx-onnx-cgen asks for both of TopK."""
    if len(node.output) == 2 and all(node.output):
        return None
    made = onnx.NodeProto()
    made.CopyFrom(node)
    del made.metadata_props[:]
    names = [*node.output, *[""] * (2 - len(node.output))]
    del made.output[:]
    made.output.extend(name or f"{''.join(names)}.unused_{place}" for place, name in enumerate(names))
    return [made], {}


_REWRITES: dict[str, Callable[[onnx.NodeProto, Sequence[Seen | None]], Nodes | None]] = {
    "Mul": _times_zero,
    "Relu": _rectified,
    "TopK": _all_outputs,
    "ReduceLogSumExp": _log_of_sum,
    "Slice": _backward,
    "Pad": _cropped,
    "Einsum": _products,
    "Pow": _power,
    "ConvTranspose": patches,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), forward_layers),
}
