"""Remainders and quotients rounded down, of numbers with fractions, by ONNX's Mod, which is exact.

torch's translations subtract y times a rounded quotient. They are off by a whole y at jumps, and by more where x is
large beside y.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib.ops.core import (
    aten_div_mode,
    aten_floor_divide,
    aten_remainder,
    aten_remainder_scalar,
)

from odelet_export.capture.operators.opset import op

aten = torch.ops.aten


def _has_fraction(x: Any) -> bool:
    return isinstance(x, ir.Value) and x.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)


def _divided(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """The remainder of x / y with the sign of x, whether a remainder with the sign of y differs, and y as a value."""
    number = isinstance(y, (int, float))
    value = op.Constant(value=ir.tensor(float(y), x.dtype)) if number else y
    rest = op.Mod(x, value, fmod=1)
    if number:
        return rest, op.Less(rest, 0.0) if y > 0 else op.Greater(rest, 0.0), value
    return rest, op.Less(op.Mul(op.Sign(rest), op.Sign(value)), 0.0), value


def remainder(x: Any, y: Any) -> Any:
    """aten.remainder: the remainder of x / y with the sign of y."""
    if not _has_fraction(x):
        return aten_remainder_scalar(x, y) if isinstance(y, (int, float)) else aten_remainder(x, y)
    rest, differs, divisor = _divided(x, y)
    return op.Where(differs, op.Add(rest, divisor), rest)


def _rounded_down(x: Any, y: Any) -> Any:
    rest, differs, divisor = _divided(x, y)
    quotient = op.Div(op.Sub(x, rest), divisor)
    whole = op.Round(op.Where(differs, op.Sub(quotient, 1.0), quotient))
    return op.Where(op.Equal(divisor, 0.0), op.Div(x, divisor), whole)


def floor_divide(x: Any, y: Any) -> Any:
    """aten.floor_divide."""
    return _rounded_down(x, y) if _has_fraction(x) else aten_floor_divide(x, y)


def div_mode(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    """aten.div with a mode of rounding."""
    if rounding_mode != "floor" or not _has_fraction(x):
        return aten_div_mode(x, y, rounding_mode=rounding_mode)
    return _rounded_down(x, y)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    aten.remainder.Scalar: remainder,
    aten.remainder.Tensor: remainder,
    aten.floor_divide.default: floor_divide,
    aten.div.Tensor_mode: div_mode,
    aten.div.Scalar_mode: div_mode,
}
