"""Transposed convolutions that spread each element over a patch of its own, as products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from onnx import helper

from odelet_export.targets.build.instructions import Seen
from odelet_export.targets.build.operators import Array


def patches(
    node: onnx.NodeProto, inputs: Sequence[Seen | None]
) -> tuple[list[onnx.NodeProto], dict[str, Array]] | None:
    """The nodes of the same result for a ConvTranspose whose steps are as long as its kernel, so that no two patches
    meet; None for others, and where its weight is not constant."""
    data, weight = inputs[0], inputs[1]
    if data is None or weight is None or weight.constant is None:
        return None
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    count, channels, *sizes = data.shape
    kernel = weight.shape[2:]
    plain = (
        given.get("group", 1) == 1
        and tuple(given.get("strides", [1] * len(kernel))) == kernel
        and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and not any([*given.get("pads", []), *given.get("output_padding", []), *given.get("output_shape", [])])
        and set(given.get("dilations", [1])) <= {1}
        and prod(data.shape) * prod(weight.shape) > 0
    )
    if not plain:
        return None
    made, axes = weight.shape[1], len(kernel)
    result = node.output[0]
    names = ("matrix", "flat", "columns", "product", "sum", "apart", "parts", "turned", "whole")
    matrix, flat, columns, product, total, apart, parts, turned, whole = (f"{result}.{name}" for name in names)
    # The rows of the product are the channels of the result, each with the places of a patch.
    constants = {
        matrix: np.ascontiguousarray(weight.constant.reshape(channels, -1).T),
        columns: np.array([count, channels, prod(sizes)]),
        apart: np.array([count, made, *kernel, *sizes]),
        whole: np.array([count, made, *(k * n for k, n in zip(kernel, sizes, strict=True))]),
    }
    nodes = [
        helper.make_node("Reshape", [node.input[0], columns], [flat]),
        helper.make_node("MatMul", [matrix, flat], [product]),
    ]
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None:
        if bias.constant is None:
            return None
        constants[f"{result}.bias"] = np.repeat(bias.constant, prod(kernel))[:, None]
        nodes.append(helper.make_node("Add", [product, f"{result}.bias"], [total]))
    # Beside each axis of the data comes that of the patch.
    order = [0, 1, *(place for axis in range(axes) for place in (2 + axes + axis, 2 + axis))]
    nodes += [
        helper.make_node("Reshape", [total if bias is not None else product, apart], [parts]),
        helper.make_node("Transpose", [parts], [turned], perm=order),
        helper.make_node("Reshape", [turned, whole], [result]),
    ]
    return nodes, constants
