"""Special functions that ONNX lacks, in elementary operators: gamma, Bessel and inverse error functions.

The log-densities of gamma, beta, Student's and Poisson distributions need them. All of them compute in float64 and
return the dtype of x, so that no digit of a float32 result is lost. Formulas: Abramowitz & Stegun 1964, by number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten

# Bernoulli's numbers B2, B4, ..., B16.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
# The recurrences bring an argument to 10 at least, where the asymptotic series have all digits of a float64.
_SHIFT = 10
# Intervals of the trapezoidal rule for Bessel functions, and the argument from which on their series is used.
_INTERVALS, _FAR = 32, 50.0


def _in_float64(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function of float64 values as a decomposition for values of any dtype with a fraction."""

    def decomposition(x: Tensor) -> Tensor | NotImplementedType:
        return function(x.double()).to(x.dtype) if x.is_floating_point() else NotImplemented

    return decomposition


def _lgamma(x: Tensor) -> Tensor:
    """The logarithm of |gamma(x)|, by 6.1.40; for negative x by the reflection 6.1.17."""
    negative = x <= 0
    positive = torch.where(negative, 1 - x, x)
    product = positive
    for i in range(1, _SHIFT):
        product = product * (positive + i).clamp(max=1e15)
    # Above a large argument there is no need for the recurrence, whose product would overflow.
    near = positive < 1e15
    shifted = torch.where(near, positive + _SHIFT, positive)
    series = (shifted - 0.5) * shifted.log() - shifted + 0.5 * math.log(2 * math.pi)
    for k, number in enumerate(_BERNOULLI, 1):
        series = series + number / (2 * k * (2 * k - 1) * shifted ** (2 * k - 1))
    size = series - torch.where(near, product, 1.0).log()
    reflected = math.log(math.pi) - torch.sin(math.pi * (x - x.round())).abs().log() - size
    return torch.where(x.isinf(), math.inf, torch.where(negative, reflected, size))


def _digamma(x: Tensor) -> Tensor:
    """The derivative of the logarithm of gamma(x), by 6.3.18; for negative x by the reflection 6.3.7."""
    negative = x < 0
    positive = torch.where(negative, 1 - x, x)
    shifted = positive + _SHIFT
    total = shifted.log() - 0.5 / shifted
    for k, number in enumerate(_BERNOULLI, 1):
        total = total - number / (2 * k * shifted ** (2 * k))
    for i in range(_SHIFT):
        total = total - 1 / (positive + i)
    angle = math.pi * (x - x.round())
    reflected = torch.where(angle == 0, math.nan, total - math.pi * angle.cos() / angle.sin())
    return torch.where(x == 0, -1 / x, torch.where(negative, reflected, total))


def polygamma(n: int, x: Tensor) -> Tensor | NotImplementedType:
    """The n-th derivative of digamma for positive x, by 6.4.11."""
    if not x.is_floating_point():
        return NotImplemented
    if n == 0:
        return torch.digamma(x)
    at = x.double()
    shift = _SHIFT + n
    shifted = at + shift
    total = math.factorial(n - 1) / shifted**n + math.factorial(n) / (2 * shifted ** (n + 1))
    for k, number in enumerate(_BERNOULLI, 1):
        total = total + number * math.factorial(2 * k + n - 1) / (math.factorial(2 * k) * shifted ** (2 * k + n))
    for i in range(shift):
        total = total + math.factorial(n) / (at + i) ** (n + 1)
    return (total if n % 2 else -total).to(x.dtype)


def _erfinv(x: Tensor) -> Tensor:
    """The inverse of the error function: Winitzki's approximation, and three steps of Halley's method."""
    inside = x.clamp(-1 + 1e-16, 1 - 1e-16)
    logarithm = ((1 - inside) * (1 + inside)).log()
    u = 2 / (math.pi * 0.147) + logarithm / 2
    y = x.sign() * ((u * u - logarithm / 0.147).sqrt() - u).clamp(min=0).sqrt()
    for _ in range(3):
        step = (y.erf() - inside) * (math.sqrt(math.pi) / 2) * (y * y).exp()
        y = y - step / (1 + y * step)
    return torch.where(x.abs() == 1, x * math.inf, torch.where(x.abs() > 1, math.nan, y))


def _bessel(order: int, *, scaled: bool) -> Callable[[Tensor], Tensor]:
    """The modified Bessel function I of order 0 or 1, times exp(-|x|) where it is scaled.

    Near 0 by the trapezoidal rule for the integral 9.6.19, which converges exponentially; beyond by the series 9.7.1.
    """

    def function(x: Tensor) -> Tensor:
        size = x.abs()
        angles = torch.arange(_INTERVALS + 1, dtype=torch.float64) * (math.pi / _INTERVALS)
        ends = (angles == 0) | (angles == math.pi)
        weights = torch.where(ends, 0.5, 1.0) * (order * angles).cos() / _INTERVALS
        near_size = size.clamp(max=_FAR).unsqueeze(-1)
        near = (near_size * (angles.cos() - 1)).exp() * weights
        if order:
            # The terms of two opposite angles have opposite signs, and their sum is proportional to x near 0.
            half = _INTERVALS // 2
            near = -(near * torch.expm1(-2 * near_size * angles.cos()))[..., :half]
        near = near.sum(-1)
        far_size = size.clamp(min=_FAR)
        term = series = torch.ones_like(x)
        for k in range(1, 13):
            term = term * ((2 * k - 1) ** 2 - 4 * order * order) / (8 * k * far_size)
            series = series + term
        value = torch.where(size < _FAR, near, series / (2 * math.pi * far_size).sqrt())
        value = value if scaled else value * size.exp()
        return value * x.sign() if order else value

    return function


def hypot(x: Tensor, y: Tensor) -> Tensor:
    """sqrt(x^2 + y^2) without overflow.

    The bounds of the divisor make the ratio 0 for two zeros, and infinite for two infinities.
    """
    large, small = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    ends = torch.finfo(large.dtype)
    ratio = small / large.clamp(ends.tiny, ends.max)
    return large * (1 + ratio * ratio).sqrt()


def _beside_nan(choose: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """fmax or fmin: one of two numbers, and the other one where one is NaN."""
    return lambda x, y: torch.where(x != x, y, torch.where(y != y, x, choose(x, y)))


def copysign(x: Tensor, other: Tensor) -> Tensor | NotImplementedType:
    """The size of one number with the sign of another."""
    if not x.is_floating_point() or not other.is_floating_point():
        return NotImplemented
    return torch.where(torch.signbit(other), -x.abs(), x.abs())


def signbit(x: Tensor) -> Tensor:
    """Whether a number has a minus sign, which -0.0 has too."""
    return (x < 0) | ((x == 0) & (1 / x < 0)) if x.is_floating_point() else x < 0


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.lgamma.default: _in_float64(_lgamma),
    aten.digamma.default: _in_float64(_digamma),
    aten.polygamma.default: polygamma,
    aten.erfinv.default: _in_float64(_erfinv),
    aten.i0.default: _in_float64(_bessel(0, scaled=False)),
    aten.special_i0e.default: _in_float64(_bessel(0, scaled=True)),
    aten.special_i1.default: _in_float64(_bessel(1, scaled=False)),
    aten.special_i1e.default: _in_float64(_bessel(1, scaled=True)),
    aten.hypot.default: hypot,
    aten.fmax.default: _beside_nan(torch.maximum),
    aten.fmin.default: _beside_nan(torch.minimum),
    aten.copysign.Tensor: copysign,
    aten.signbit.default: signbit,
}
