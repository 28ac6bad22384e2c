"""The file of the weights that lie outside their graphs: those that several graphs hold, and those of large graphs.

The law here: each weight is written once, in pieces, so that no second copy of the weights is in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir

from odelet.artifact.card import Card
from odelet.artifact.program_steps import RunStep
from odelet.artifact.weights import DTYPES
from odelet_export.targets.replaceable import WEIGHTS

# Smaller tensors stay in each graph: a reference to the shared file costs as many bytes.
SHARED_BYTES = 1024
# A graph is one message of protobuf, of less than 2 GiB, and whoever reads it has it in memory several times: its
# bytes, its parsed tensors, and ONNX Runtime's own. Weights beyond this number of bytes are kept outside.
GRAPH_BYTES = 2**29

_PIECE = 2**26
_FIRST = 64
# Page alignment lets a runtime map the file instead of copying it.
_PAGE = 4096


def move_weights(graphs: Mapping[str, ir.Model], folder: Path) -> None:
    """Move weights into one file of the folder, in place: those that several graphs hold, and all of a large graph."""
    weights: list[list[ir.Value]] = []
    alone: dict[int, list[list[ir.Value]]] = {id(model.graph): [] for model in graphs.values()}
    for values in _holders(graphs):
        homes = {id(value.graph) for value in values}
        (weights if len(homes) > 1 else alone[homes.pop()]).append(values)
    for inside in alone.values():
        if sum(_tensor(value).nbytes for values in inside for value in values) > GRAPH_BYTES:
            weights += inside
    if weights:
        with (folder / WEIGHTS).open("wb") as file:
            for values in weights:
                _write(values, file, folder)


def kept_outside(card: Card) -> list[str]:
    """A sentence where a model is one graph that cannot be loaded without its file of weights; else none."""
    entry = card.files.get(WEIGHTS)
    if entry is None or len(card.program) != 1 or not isinstance(card.program[0], RunStep):
        return []
    return [
        f"the weights are in {WEIGHTS} ({entry.bytes / 1e9:.3g} GB), as they are too large for a graph: "
        f"{card.program[0].run} alone cannot be loaded, so keep the folder whole and load the folder"
    ]


def _holders(graphs: Mapping[str, ir.Model]) -> list[list[ir.Value]]:
    """The initializers that can lie outside their graphs; those of the same numbers are in one list."""
    alike: dict[tuple[str, bytes], list[ir.Value]] = {}
    for model in graphs.values():
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= SHARED_BYTES and tensor.dtype.value in DTYPES:
                # Reading all numbers of a large tensor takes long, and its first ones tell most tensors apart.
                begins = np.array(tensor.numpy().flat[:_FIRST]).tobytes()
                alike.setdefault((repr((tensor.dtype, tensor.shape)), begins), []).append(value)
    holders: dict[tuple[tuple[str, bytes], bytes], list[ir.Value]] = {}
    for kind, values in alike.items():
        for value in values:
            key = _digest(_tensor(value)) if len(values) > 1 else b""
            holders.setdefault((kind, key), []).append(value)
    return list(holders.values())


def _digest(tensor: ir.TensorProtocol) -> bytes:
    digest = hashlib.sha256()
    for piece in _pieces(tensor):
        digest.update(piece)
    return digest.digest()


def _write(values: Sequence[ir.Value], file: BinaryIO, folder: Path) -> None:
    """Write the tensor that these values are, and let them refer to the file."""
    tensor, offset = _tensor(values[0]), file.tell()
    for piece in _pieces(tensor):
        file.write(piece)
    length = file.tell() - offset
    shape = tensor.numpy().shape
    for value in values:
        value.const_value = ir.ExternalTensor(
            WEIGHTS, offset, length, tensor.dtype, shape=ir.Shape(shape), name=str(value.name), base_dir=folder
        )
    file.write(bytes(-length % _PAGE))


def _pieces(tensor: ir.TensorProtocol) -> Iterator[memoryview]:
    """The bytes of a tensor, in order. One that lies in memory in another order is copied piece by piece."""
    array = tensor.numpy()
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
        return
    rows = max(1, _PIECE // (array.nbytes // len(array)))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8).data


def _tensor(value: ir.Value) -> ir.TensorProtocol:
    tensor = value.const_value
    assert tensor is not None, "it is an initializer"
    return tensor
