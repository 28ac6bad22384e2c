"""Convolutions and products whose input has channels of one number, such as the time: the weight is divided.

Conv(concat(t, x)) = Conv(x) + t * Conv(1), and Gemm(concat(x, t)) = Gemm(x) + t * w: the channel of the time goes, and
with it the concatenation. ONNX Runtime's fast convolutions need a number of channels that fills its vectors, which one
more channel spoils.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from odelet_export.graphs.nodes import constant_of
from odelet_export.graphs.rewrite.fills import Fill, fill_of
from odelet_export.graphs.rewrite.rule import Rewrite
from odelet_export.graphs.rewrite.shapes import dims_of
from odelet_export.graphs.rewrite.stored import constant, stored


@dataclass(frozen=True)
class _Division:
    """A concatenation, divided. parts: what is left of it. kept: the channels of the parts. fills: what is filled with
    one number for each batch row, with its channel."""

    parts: Sequence[ir.Value]
    kept: Sequence[int]
    fills: Sequence[tuple[Fill, int]]

    def rest(self, op: Any, axis: int) -> ir.Value:
        """The concatenation of what is left."""
        if len(self.parts) == 1:
            return self.parts[0]
        joined: ir.Value = op.Concat(*self.parts, axis=axis)
        return joined


def _divided(value: ir.Value, axis: int, axes: int) -> _Division | None:
    """The division of a concatenation along an axis. axes: along how many of the last axes a part must be one number.
    None where the value is none, where no part is of one channel and one number, or all parts are."""
    node, dims = value.producer(), dims_of(value)
    if node is None or node.op_type != "Concat" or dims is None:
        return None
    if node.attributes["axis"].as_int() % len(dims) != axis % len(dims):
        return None
    parts: list[ir.Value] = []
    kept: list[int] = []
    fills: list[tuple[Fill, int]] = []
    channel = 0
    for part in node.inputs:
        sizes = None if part is None else dims_of(part)
        width = None if sizes is None else sizes[axis]
        if part is None or width is None:
            return None
        fill = fill_of(part, axes) if width == 1 else None
        if fill is None:
            parts.append(part)
            kept.extend(range(channel, channel + width))
        else:
            fills.append((fill, channel))
        channel += width
    return _Division(parts, kept, fills) if parts and fills else None


def _of_conv(context: object, x: ir.Value, weight: ir.Value, made: ir.Value) -> bool:
    """Whether the sizes of the image are known and a channel is one number."""
    dims, node = dims_of(x), made.producer()
    if dims is None or node is None or constant_of(weight) is None or len(dims) < 3:
        return False
    if any(dim is None for dim in dims[2:]) or ("group" in node.attributes and node.attributes["group"].as_int() != 1):
        return False
    return _divided(x, 1, len(dims) - 2) is not None


def _conv(op: Any, x: ir.Value, weight: ir.Value, made: ir.Value) -> Any:
    """The convolution of the other channels, and the map of each channel of one number times the number."""
    dims, node, array = dims_of(x), made.producer(), constant_of(weight)
    assert dims is not None and node is not None and array is not None
    division = _divided(x, 1, len(dims) - 2)
    assert division is not None
    rest = stored(op, made, weight, array[:, division.kept], "rest")
    result = op.op("Conv", division.rest(op, 1), rest, *node.inputs[2:], **node.attributes)
    sizes = [dim for dim in dims[2:] if dim is not None]
    image = constant(op, np.ones((1, 1, *sizes), array.dtype))
    for fill, channel in division.fills:
        weight_of_channel = stored(op, made, weight, array[:, [channel]], str(channel))
        of_channel = op.op("Conv", image, weight_of_channel, **node.attributes)
        of_channel.shape = None if made.shape is None else ir.Shape([1, *made.shape[1:]])
        result = op.Add(result, op.Mul(of_channel, fill(op)))
    return result


def _of_gemm(context: object, x: ir.Value, weight: ir.Value, bias: ir.Value, made: ir.Value) -> bool:
    """Whether a column is one number, and the product is a plain one."""
    node = made.producer()
    if node is None or constant_of(weight) is None:
        return False
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(name in node.attributes and node.attributes[name].value != value for name, value in plain.items()):
        return False
    return _divided(x, 1, 2) is not None


def _gemm(op: Any, x: ir.Value, weight: ir.Value, bias: ir.Value, made: ir.Value) -> Any:
    """The product of the other columns, with the rows of each column of one number in its bias."""
    node, array, division = made.producer(), constant_of(weight), _divided(x, 1, 2)
    assert node is not None and array is not None and division is not None
    axis = 1 if "transB" in node.attributes and node.attributes["transB"].as_int() == 1 else 0
    for fill, channel in division.fills:
        bias = op.Add(bias, op.Mul(stored(op, made, weight, np.take(array, channel, axis), str(channel)), fill(op)))
    rest = stored(op, made, weight, np.take(array, division.kept, axis), "rest")
    return op.op("Gemm", division.rest(op, 1), rest, bias, **node.attributes)


def _of_product(context: object, x: ir.Value, weight: ir.Value, bias: ir.Value, made: ir.Value) -> bool:
    """Whether a column is one number, and the bias the same for all rows."""
    array, stored = constant_of(weight), constant_of(bias)
    dims = dims_of(x)
    if array is None or stored is None or array.ndim != 2 or stored.ndim != 1 or dims is None:
        return False
    return _divided(x, -1, len(dims)) is not None


def _product(op: Any, x: ir.Value, weight: ir.Value, bias: ir.Value, made: ir.Value) -> Any:
    """The product of the other columns, with the rows of each column of one number in its bias."""
    array, dims = constant_of(weight), dims_of(x)
    assert array is not None and dims is not None
    division = _divided(x, -1, len(dims))
    assert division is not None
    for fill, channel in division.fills:
        bias = op.Add(bias, op.Mul(stored(op, made, weight, array[channel], str(channel)), fill(op)))
    return op.Add(op.MatMul(division.rest(op, -1), stored(op, made, weight, array[division.kept], "rest")), bias)


TIME_IN_CONV = Rewrite(
    name="time channel of a convolution",
    about="Conv(concat(t, x)) as Conv(x) + t * Conv(1), so that the channels fill the vectors",
    pattern=lambda op, x, weight: op.Conv(x, weight, _allow_other_inputs=True, _outputs=["made"]),
    check=_of_conv,
    replace=_conv,
    everywhere=True,
)

TIME_IN_GEMM = Rewrite(
    name="time column of a Gemm",
    about="Gemm(concat(x, t)) with t times its row of the weight in the bias, without the concatenation",
    pattern=lambda op, x, weight, bias: op.Gemm(x, weight, bias, _outputs=["made"]),
    check=_of_gemm,
    replace=_gemm,
    everywhere=True,
)

TIME_IN_PRODUCT = Rewrite(
    name="time column of a MatMul",
    about="concat(x, t) @ W + b with t times its row of W in b, without the concatenation",
    pattern=lambda op, x, weight, bias: op.Add(op.MatMul(x, weight), bias, _outputs=["made"]),
    check=_of_product,
    replace=_product,
    everywhere=True,
)
