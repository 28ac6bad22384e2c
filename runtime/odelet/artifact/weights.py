"""The weights of graphs that lie in a file beside them, as arrays over the bytes of that file.

The law here: no byte is copied, so that all graphs of an artifact share one copy of a weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from odelet.artifact.proto import ExternalTensor
from odelet.errors import ArtifactError
from odelet.numerics.backend import NumpyArray

# The types of tensors, by their numbers in onnx.proto, with numpy's type of the same bytes: bfloat16, which numpy has
# not, is 16.
DTYPES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64"},
    **{9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "uint16"},
}
# The ways of storing weights in fewer bits, and what each does.
FLOAT16, INT8, INT8_PRODUCTS = "float16", "int8", "int8-products"
STORED = {
    FLOAT16: "weights in float16, which become float32 when the artifact is loaded",
    INT8: "weights in int8 with a scale for each output, which become float32 when the artifact is loaded",
    INT8_PRODUCTS: "weights in int8, and matrix products in int8, whose other factor is quantised in each run",
}
# Numpy counts the bytes of an array without axes of size 0 in an int64; older ones have no more axes than this.
_MOST_AXES, _LARGEST_AXIS = 32, 2**31


@dataclass(frozen=True)
class Weight:
    """An initializer that lies in another file. kind: its type, as a number of onnx.proto. array: its numbers, in
    numpy's type of `DTYPES`."""

    kind: int
    array: NumpyArray


# Initializers by name.
Weights: TypeAlias = dict[str, Weight]


def weights_of(name: str, tensors: Sequence[ExternalTensor], files: Mapping[str, NumpyArray]) -> Weights:
    """Return the initializers of a graph that lie in other files, as arrays that share the memory of `files`.

    name: of the graph, for messages. files: the bytes of each file, as arrays of uint8. Raises ArtifactError for a
    tensor that is not wholly in its file, or of a type that is not in `DTYPES`.
    """
    weights: Weights = {}
    for tensor in tensors:
        what = f"{name}: the weight {tensor.name[:80]!r}"
        if tensor.name in weights or not tensor.name:
            raise ArtifactError(f"{what} is there twice, or has no name; the file is damaged, export the model again")
        if tensor.kind not in DTYPES:
            raise ArtifactError(f"{what} in {tensor.location} has the type {tensor.kind} of ONNX, which is not known")
        if len(tensor.shape) > _MOST_AXES or any(size > _LARGEST_AXIS for size in tensor.shape):
            raise ArtifactError(
                f"{what} has a shape that no array can have; the file is damaged, export the model again"
            )
        dtype, size = np.dtype(DTYPES[tensor.kind]), math.prod(tensor.shape)
        length = size * dtype.itemsize
        data = files[tensor.location][tensor.offset : tensor.offset + length]
        if len(data) != length or tensor.length not in (None, length) or tensor.offset % dtype.itemsize:
            raise ArtifactError(
                f"{what} of {length} bytes is not in {tensor.location} at {tensor.offset}; the two do not belong "
                "together: export the model again"
            )
        weights[tensor.name] = Weight(tensor.kind, data.view(dtype).reshape(tensor.shape))
    return weights
