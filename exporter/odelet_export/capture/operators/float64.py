"""Formulas for ONNX operators on float64 values, where an operator has float32 attributes or no float64 kernel.

`translations.Recorder` calls a formula in place of recording the operator. A formula takes the inputs of the operator
and then its attributes by name. It returns the output as a value of the graph, or None where the operator itself is
exact. All values are float64, and Python numbers beside them become float64. The relative error of a result is a few
units in the last place, also near zero, where the textbook formula of many functions cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from odelet_export.capture.operators.float64_layers import (
    batch_normalization,
    gemm,
    instance_normalization,
    layer_normalization,
)
from odelet_export.capture.operators.opset import op

# W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969): erf on |x| < 0.46875,
# and exp(x^2) erfc beyond; numerators and denominators, highest power first.
_ERF_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_ERFC_FAR = (
    (
        *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1),
        *(2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3),
        1.23033935479799725e3,
    ),
    (
        *(1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3),
        *(3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
    ),
)
# alpha and gamma of torch's selu (Klambauer et al. 2017).
_SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
# The series of atan(x) / x in x^2. After two halvings of the angle |x| < 0.2, where the next term is under 1e-18.
_ATAN = tuple((-1) ** k / (2 * k + 1) for k in reversed(range(13)))


def _polynomial(x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """A polynomial in x by Horner's rule; coefficients: the highest power first, at least two."""
    first, second, *others = coefficients
    total = op.Add(x if first == 1.0 else op.Mul(x, first), second)
    for coefficient in others:
        total = op.Add(op.Mul(total, x), coefficient)
    return total


def log1p(x: ir.Value) -> ir.Value:
    """log(1 + x): log(u) of the rounded u = 1 + x, and a first-order correction for the rounding."""
    u = op.Add(x, 1.0)
    lost = op.Where(op.Equal(u, x), 0.0, op.Sub(x, op.Sub(u, 1.0)))
    return op.Add(op.Log(u), op.Div(lost, op.Max(u, 1e-30)))


def expm1(x: ir.Value) -> ir.Value:
    """exp(x) - 1, near zero as 2 t / (1 - t) with t = tanh(x / 2)."""
    half = op.Tanh(op.Mul(x, 0.5))
    near = op.Div(op.Mul(half, 2.0), op.Sub(1.0, half))
    return op.Where(op.Less(op.Abs(x), 1.0), near, op.Sub(op.Exp(x), 1.0))


def softplus(x: ir.Value) -> ir.Value:
    """log(1 + exp(x)), without overflow."""
    return op.Add(op.Relu(x), log1p(op.Exp(op.Neg(op.Abs(x)))))


def erf(x: ir.Value) -> ir.Value:
    """The error function."""
    size = op.Abs(x)
    square = op.Mul(x, x)
    near = op.Div(op.Mul(x, _polynomial(square, _ERF_NEAR[0])), _polynomial(square, _ERF_NEAR[1]))
    # exp(-x^2) is 0 long before 30, and the polynomials stay finite there.
    far_size = op.Min(size, 30.0)
    far = op.Div(_polynomial(far_size, _ERFC_FAR[0]), _polynomial(far_size, _ERFC_FAR[1]))
    far = op.Sub(1.0, op.Mul(op.Exp(op.Neg(square)), far))
    return op.Where(op.Less(size, 0.46875), near, op.Mul(op.Sign(x), far))


def gelu(x: ir.Value, approximate: str = "none") -> ir.Value:
    """x times the normal distribution function of x; "tanh": the approximation of Hendrycks & Gimpel 2016."""
    if approximate == "tanh":
        inner = op.Mul(op.Mul(x, math.sqrt(2 / math.pi)), op.Add(op.Mul(op.Mul(x, x), 0.044715), 1.0))
        return op.Mul(op.Mul(x, 0.5), op.Add(op.Tanh(inner), 1.0))
    return op.Mul(op.Mul(x, 0.5), op.Add(erf(op.Mul(x, math.sqrt(0.5))), 1.0))


def elu(x: ir.Value, alpha: float = 1.0) -> ir.Value:
    """x, and alpha (exp(x) - 1) below zero."""
    return op.Where(op.Greater(x, 0.0), x, op.Mul(expm1(op.Min(x, 0.0)), alpha))


def celu(x: ir.Value, alpha: float = 1.0) -> ir.Value:
    """x, and alpha (exp(x / alpha) - 1) below zero."""
    return op.Where(op.Greater(x, 0.0), x, op.Mul(expm1(op.Min(op.Div(x, alpha), 0.0)), alpha))


def selu(x: ir.Value, **_float32: float) -> ir.Value:
    """gamma elu(x, alpha), with torch's float64 constants in place of the operator's float32 attributes."""
    return op.Mul(elu(x, _SELU[0]), _SELU[1])


def leaky_relu(x: ir.Value, alpha: float = 0.01) -> ir.Value:
    """x, and alpha x below zero."""
    return op.Where(op.Greater(x, 0.0), x, op.Mul(x, alpha))


def prelu(x: ir.Value, slope: ir.Value) -> ir.Value:
    """x, and slope x below zero."""
    return op.Where(op.Greater(x, 0.0), x, op.Mul(x, slope))


def mish(x: ir.Value) -> ir.Value:
    """x tanh(softplus(x))."""
    return op.Mul(x, op.Tanh(softplus(x)))


def hard_sigmoid(x: ir.Value, alpha: float = 0.2, beta: float = 0.5) -> ir.Value:
    """alpha x + beta, between 0 and 1."""
    return op.Clip(op.Add(op.Mul(x, alpha), beta), 0.0, 1.0)


def hard_swish(x: ir.Value) -> ir.Value:
    """x (x + 3) / 6, with x + 3 between 0 and 6."""
    return op.Div(op.Mul(x, op.Clip(op.Add(x, 3.0), 0.0, 6.0)), 6.0)


def softsign(x: ir.Value) -> ir.Value:
    """x / (1 + |x|)."""
    return op.Div(x, op.Add(op.Abs(x), 1.0))


def thresholded_relu(x: ir.Value, alpha: float = 1.0) -> ir.Value:
    """x where it is over alpha, else 0."""
    return op.Where(op.Greater(x, alpha), x, 0.0)


def shrink(x: ir.Value, bias: float = 0.0, lambd: float = 0.5) -> ir.Value:
    """x - bias above lambd, x + bias below -lambd, and 0 between."""
    below = op.Where(op.Less(x, -lambd), op.Add(x, bias), 0.0)
    return op.Where(op.Greater(x, lambd), op.Sub(x, bias), below)


def sinc(x: ir.Value) -> ir.Value:
    """sin(pi x) / (pi x), and 1 at 0."""
    angle = op.Mul(x, math.pi)
    return op.Where(op.Equal(x, 0.0), 1.0, op.Div(op.Sin(angle), angle))


def atan(x: ir.Value) -> ir.Value:
    """atan by its power series, for 1 / x where |x| > 1, after the angle is halved twice."""
    size = op.Abs(x)
    over = op.Greater(size, 1.0)
    z = op.Where(over, op.Reciprocal(op.Max(size, 1.0)), size)
    for _ in range(2):
        z = op.Div(z, op.Add(op.Sqrt(op.Add(op.Mul(z, z), 1.0)), 1.0))
    angle = op.Mul(op.Mul(z, 4.0), _polynomial(op.Mul(z, z), _ATAN))
    return op.Mul(op.Sign(x), op.Where(over, op.Sub(math.pi / 2, angle), angle))


def asin(x: ir.Value) -> ir.Value:
    """2 atan(x / (1 + sqrt(1 - x^2)))."""
    side = op.Sqrt(op.Mul(op.Sub(1.0, x), op.Add(x, 1.0)))
    return op.Mul(atan(op.Div(x, op.Add(side, 1.0))), 2.0)


def acos(x: ir.Value) -> ir.Value:
    """2 atan(sqrt((1 - x) / (1 + x)))."""
    return op.Mul(atan(op.Sqrt(op.Div(op.Sub(1.0, x), op.Add(x, 1.0)))), 2.0)


def tan(x: ir.Value) -> ir.Value:
    """sin / cos."""
    return op.Div(op.Sin(x), op.Cos(x))


def sinh(x: ir.Value) -> ir.Value:
    """(e + e / (e + 1)) / 2 with e = exp(|x|) - 1, times the sign of x."""
    e = expm1(op.Abs(x))
    bounded = op.Min(e, 1e300)
    return op.Mul(op.Sign(x), op.Mul(op.Add(e, op.Div(bounded, op.Add(bounded, 1.0))), 0.5))


def cosh(x: ir.Value) -> ir.Value:
    """(exp(x) + exp(-x)) / 2."""
    return op.Mul(op.Add(op.Exp(x), op.Exp(op.Neg(x))), 0.5)


def asinh(x: ir.Value) -> ir.Value:
    """log1p(|x| + x^2 / (1 + sqrt(1 + x^2))) times the sign of x; log(2 |x|) where x^2 + 1 rounds to x^2."""
    size = op.Abs(x)
    bounded = op.Min(size, 1e9)
    square = op.Mul(bounded, bounded)
    near = log1p(op.Add(bounded, op.Div(square, op.Add(op.Sqrt(op.Add(square, 1.0)), 1.0))))
    far = op.Add(op.Log(size), math.log(2))
    return op.Mul(op.Sign(x), op.Where(op.Less(size, 1e9), near, far))


def acosh(x: ir.Value) -> ir.Value:
    """log1p(z + sqrt(z) sqrt(z + 2)) with z = x - 1."""
    z = op.Sub(x, 1.0)
    return log1p(op.Add(z, op.Mul(op.Sqrt(z), op.Sqrt(op.Add(z, 2.0)))))


def atanh(x: ir.Value) -> ir.Value:
    """log1p(2 |x| / (1 - |x|)) / 2, times the sign of x."""
    size = op.Abs(x)
    return op.Mul(op.Sign(x), op.Mul(log1p(op.Div(op.Mul(size, 2.0), op.Sub(1.0, size))), 0.5))


# The formulas by the names of ONNX operators, and of functions of torch's translation that lose digits.
FORMULAS: dict[str, Callable[..., Any]] = {
    "Acos": acos,
    "Acosh": acosh,
    "Asin": asin,
    "Asinh": asinh,
    "Atan": atan,
    "Atanh": atanh,
    "BatchNormalization": batch_normalization,
    "Celu": celu,
    "Cosh": cosh,
    "Elu": elu,
    "Erf": erf,
    "Gelu": gelu,
    "Gemm": gemm,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": leaky_relu,
    "Mish": mish,
    "PRelu": prelu,
    "Selu": selu,
    "Shrink": shrink,
    "Sinh": sinh,
    "Softplus": softplus,
    "Softsign": softsign,
    "Tan": tan,
    "ThresholdedRelu": thresholded_relu,
    # torch's functions cast the value to float32 before they look.
    "aten_isinf": lambda x: op.IsInf(x),
    "aten_isneginf": lambda x: op.IsInf(x, detect_positive=0),
    "aten_isposinf": lambda x: op.IsInf(x, detect_negative=0),
    "aten_log1p": log1p,
    "aten_special_expm1": expm1,
    "aten_special_sinc": sinc,
}
