"""Operators that torch's exporter translates inexactly, translated again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset18 as op


def scalar_tensor(s: Any, dtype: int = -1, layout: str = "", device: str = "", pin_memory: bool = False) -> Any:
    """A number as a tensor, in its own dtype: torch's translation rounds it to float32 on the way.

    dtype: an ONNX data type, -1 for float32. A comparison with a number (`t > 0.4`) comes by here.
    """
    del layout, device, pin_memory
    kind = ir.DataType.FLOAT if dtype == -1 else ir.DataType(dtype)
    if isinstance(s, (bool, int, float)):
        return op.Constant(value=ir.tensor(np.asarray(s).astype(kind.numpy())))
    return op.Cast(s, to=int(kind))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.scalar_tensor.default: scalar_tensor}
