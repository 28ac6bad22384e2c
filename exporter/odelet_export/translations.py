"""Operators that torch's ONNX exporter translates with a loss, translated whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset18

aten = torch.ops.aten
op: Any = opset18
FLOAT = ir.DataType.FLOAT.value


def scalar_tensor(s: Any, dtype: int = FLOAT, layout: str = "", device: str = "", pin_memory: bool = False) -> Any:
    """A number as a tensor. torch's own makes it float32 on the way to float64: 0.51 becomes 0.50999999."""
    dtype = FLOAT if dtype == -1 else dtype
    if isinstance(s, (bool, int, float)):
        return op.Constant(value=ir.tensor(s, ir.DataType(dtype)))
    return op.Cast(s, to=dtype)


def full(
    size: Any, fill_value: Any, dtype: int = -1, layout: str = "", device: str = "", pin_memory: bool = False
) -> Any:
    """A number repeated; of the number, the same is true."""
    value = fill_value if dtype == -1 else scalar_tensor(fill_value, dtype)
    return op.Expand(value, op.Cast(size, to=ir.DataType.INT64.value))


def whole_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The table that the translation to ONNX uses before torch's own."""
    return {aten.scalar_tensor.default: scalar_tensor, aten.full.default: full}
