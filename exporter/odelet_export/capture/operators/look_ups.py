"""Translations of look-ups in which a negative index is an error in torch; ONNX counts it from the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib.ops.core import aten_gather, aten_index_select

from odelet.engine.failures import NEGATIVE
from odelet_export.capture.operators.opset import op

aten = torch.ops.aten
INT64 = ir.DataType.INT64


def _checked(indices: Any) -> Any:
    """The indices, with one that is beyond every table in place of negative ones, which ONNX Runtime answers with an
    error."""
    indices = op.Cast(indices, to=INT64)
    zero, beyond = (op.Constant(value=ir.tensor(number, INT64)) for number in (0, NEGATIVE))
    return op.Where(op.Less(indices, zero), beyond, indices)


def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """aten.embedding."""
    return op.Gather(weight, _checked(indices))


def gather(source: Any, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    """aten.gather."""
    if not source.shape or not index.shape:  # a single number, which every index of 0 finds
        return aten_gather(source, dim, index, sparse_grad)
    return op.GatherElements(source, _checked(index), axis=dim)


def index_select(source: Any, dim: int, index: Any) -> Any:
    """aten.index_select."""
    return aten_index_select(source, dim, _checked(index))


def look_ups() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The translations, by operator."""
    return {
        aten.embedding.default: embedding,
        aten.gather.default: gather,
        aten.index_select.default: index_select,
    }
