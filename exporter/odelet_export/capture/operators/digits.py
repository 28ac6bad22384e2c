"""Translations of torch's operators by formulas that keep the digits which torch's own translations lose.

torch translates log1p(x) as Log(x + 1), which is 0 where x is tiny, logsigmoid as Log(Sigmoid(x)), which ONNX Runtime
bounds at -18, and logaddexp by Exp, which overflows. The formulas here have a relative error of a few units in the last
place, answer NaN and infinities as torch does, and take few nodes. Each serves float32 and float64, whose operators
without a kernel are written by `float64`. Half precision is made of float32 graphs.

Elu, Selu and Celu, Sigmoid, Silu and Tanh stay operators of ONNX in float32, for their speed. What they promise is an
absolute error: a rounding of 1, or of x where they are a product with x. `small_sigmoids` finds the sigmoids for which
that is too little.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from odelet_export.capture.operators.float64 import expm1 as expm1_of_float64
from odelet_export.capture.operators.float64 import log1p
from odelet_export.capture.operators.opset import op

aten = torch.ops.aten


def _is_double(x: Any) -> bool:
    return isinstance(x, ir.Value) and x.dtype == ir.DataType.DOUBLE


def logarithm_1p(x: Any) -> Any:
    """log(1 + x)."""
    return log1p(x)


def expm1(x: Any) -> Any:
    """exp(x) - 1 as 2 sinh(x / 2) exp(x / 2), which is -1 long before -60."""
    if _is_double(x):
        return expm1_of_float64(x)
    half = op.Mul(op.Max(x, -60.0), 0.5)
    return op.Mul(op.Mul(op.Sinh(half), 2.0), op.Exp(half))


def log_sigmoid(x: Any) -> Any:
    """-log(1 + exp(-x))."""
    return op.Neg(op.Softplus(op.Neg(x)))


def _distance(x: Any, y: Any) -> Any:
    """-|x - y|, which is 0 for two infinities of one sign."""
    return op.Neg(op.Abs(op.Where(op.Equal(x, y), 0.0, op.Sub(x, y))))


def logaddexp(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y)): the larger one, and the logarithm of what the other one adds."""
    return op.Add(op.Max(x, y), op.Softplus(_distance(x, y)))


def logaddexp2(x: Any, y: Any) -> Any:
    """log2(2^x + 2^y)."""
    added = log1p(op.Pow(op.CastLike(2.0, x), _distance(x, y)))
    return op.Add(op.Max(x, y), op.Div(added, math.log(2)))


def sinh(x: Any) -> Any:
    """2 sinh(x / 2) cosh(x / 2), because ONNX Runtime's own overflows where exp(x) does, and sinh(x) is half of it."""
    if _is_double(x):
        return op.Sinh(x)
    half = op.Mul(x, 0.5)
    return op.Mul(op.Mul(op.Sinh(half), 2.0), op.Cosh(half))


def cosh(x: Any) -> Any:
    """2 cosh(x / 2)^2 - 1, for the reason of `sinh`."""
    if _is_double(x):
        return op.Cosh(x)
    root = op.Cosh(op.Mul(x, 0.5))
    return op.Sub(op.Mul(op.Mul(root, 2.0), root), 1.0)


def atan2(y: Any, x: Any) -> Any:
    """The angle of (x, y), between -pi and pi, with the sign of y, which -0.0 has too; -0.0 counts as 0.0 in x.

    torch's translation answers 0 for NaN, and -pi in place of pi for (-1, 0).
    """
    slope = op.Div(y, x)
    # Two zeros count as slope 0, and two infinities as slope 1; NaN stays NaN.
    slope = op.Where(op.IsNaN(slope), op.Mul(op.Clip(y, -1.0, 1.0), op.Clip(x, -1.0, 1.0)), slope)
    angle = op.Atan(op.Abs(slope))
    angle = op.Where(op.Less(x, 0.0), op.Sub(math.pi, angle), angle)
    negative = op.Or(op.Less(y, 0.0), op.Less(op.Reciprocal(y), 0.0))
    return op.Where(negative, op.Neg(angle), angle)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    aten.log1p.default: logarithm_1p,
    aten.expm1.default: expm1,
    aten.special_expm1.default: expm1,
    aten.log_sigmoid.default: log_sigmoid,
    aten.logaddexp.default: logaddexp,
    aten.logaddexp2.default: logaddexp2,
    aten.atan2.default: atan2,
    aten.sinh.default: sinh,
    aten.cosh.default: cosh,
}
