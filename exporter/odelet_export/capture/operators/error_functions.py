"""Error functions far from 0, where 1 - erf(x) has no digit left: erfc, erfcx, the logarithm of ndtr, and its inverse.

They rest on (1 + 2 x) exp(x^2) erfc(x) for x >= 0, a smooth function of t = (x - 3) / (x + 3) (Shepherd & Laframboise,
Math. Comp. 36, 1981). The coefficients are those of its Chebyshev series, cut off at an error of 5e-9 for float32 and
2e-16 for float64, and rearranged into powers of t. Everything computes in float64: in float32, rounding x^2 would cost
the exponential its digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten

# Highest power first.
_SHORT = (
    *(7.731024224076895e-05, -9.254516686923966e-05, -0.0007264536790340485, 0.001875079123772353),
    *(0.0024991168696069477, -0.02376357643949504, 0.06831656777114085, -0.1192752752822409, 0.1296441143440814),
    *(-0.047562156927520076, -0.1356210694002736, 1.2530080563677553),
)
_LONG = (
    *(8.393734858690877e-10, 9.862533510345587e-10, -8.217595058711455e-09, -1.3312919661038687e-08),
    *(4.1064013667940355e-08, 1.0183620603842736e-07, -1.4047654315428462e-07, -6.166011460398726e-07),
    *(3.5576086684080595e-07, 3.472370944977168e-06, -7.308281468783614e-07, -2.0100542268525612e-05),
    *(4.949196649968345e-06, 0.0001250993424583729, -0.00010515971958448065, -0.0007798322696543306),
    *(0.0018886903449991718, 0.0025293918156939696, -0.02377051491717134, 0.0683080273440099, -0.11927366341538638),
    *(0.1296451587027594, -0.0475622943534492, -0.13562110612458117, 1.2530080582697296),
)

# P. J. Acklam's approximation of ndtri, with an error of 1.2e-9: numerator and denominator for p < 0.02425 as functions
# of sqrt(-2 log p), and for larger p of (p - 1/2)^2. Highest power first.
_TAIL = (
    (
        *(-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838, -2.549732539343734, 4.374664141464968),
        2.938163982698783,
    ),
    (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996, 3.754408661907416, 1.0),
)
_MIDDLE = (
    (
        *(
            -3.969683028665376e01,
            2.209460984245205e02,
            -2.759285104469687e02,
            1.383577518672690e02,
            -3.066479806614716e01,
        ),
        2.506628277459239,
    ),
    (
        *(
            -5.447609879822406e01,
            1.615858368580409e02,
            -1.556989798598866e02,
            6.680131188771972e01,
            -1.328068155288572e01,
        ),
        1.0,
    ),
)


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """A polynomial by Horner's rule; coefficients: the highest power first."""
    total = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total


def _quotient(x: Tensor, parts: tuple[Sequence[float], Sequence[float]]) -> Tensor:
    return _polynomial(x, parts[0]) / _polynomial(x, parts[1])


def _scaled(size: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(x^2) erfc(x) for x >= 0. dtype: the type whose digits are needed."""
    return _polynomial(1 - 6 / (size + 3), _LONG if dtype is torch.float64 else _SHORT) / (1 + 2 * size)


def _gauss(size: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(-x^2); in float64 by a part of x whose square is exact, and the rest."""
    if dtype is not torch.float64:
        return (-size * size).exp()
    bounded = size.clamp(max=40.0)
    part = (bounded * 16).floor() / 16
    return (-part * part).exp() * ((part - bounded) * (part + bounded)).exp()


def _erfc(x: Tensor, dtype: torch.dtype) -> Tensor:
    """1 - erf(x)."""
    size = x.abs()
    above = _gauss(size, dtype) * _scaled(size, dtype)
    return torch.where(x < 0, 2 - above, above)


def _erfcx(x: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(x^2) erfc(x)."""
    scaled = _scaled(x.abs(), dtype)
    return torch.where(x < 0, 2 * (x * x).exp() - scaled, scaled)


def _log_ndtr(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The logarithm of the distribution function of the normal distribution."""
    root = x * math.sqrt(0.5)
    size = root.abs()
    scaled = _scaled(size, dtype)
    tail = 0.5 * _gauss(size, dtype) * scaled
    below = (0.5 * scaled).log() - root * root
    return torch.where(x < -1, below, torch.log1p(torch.where(x < 0, tail - 1, -tail)))


def _ndtri(p: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of the normal distribution function; in float64 after a step of Halley's method."""
    upper = p > 0.5
    low = torch.where(upper, 1 - p, p)
    middle = low - 0.5
    x = torch.where(
        low < 0.02425,
        _quotient((-2 * low.log()).sqrt(), _TAIL),
        middle * _quotient(middle * middle, _MIDDLE),
    )
    if dtype is torch.float64:
        gauss = _gauss(-x * math.sqrt(0.5), dtype)
        excess = (0.5 * _erfc(-x * math.sqrt(0.5), dtype) - low) / gauss * math.sqrt(2 * math.pi)
        x = torch.where(low > 0, x - excess / (1 + x * excess / 2), x)
    x = torch.where(low == 0, -math.inf, x)
    return torch.where(upper, -x, x)


def _in_float64(function: Callable[[Tensor, torch.dtype], Tensor]) -> Callable[..., Any]:
    def decomposition(x: Tensor) -> Tensor | NotImplementedType:
        return function(x.double(), x.dtype).to(x.dtype) if x.is_floating_point() else NotImplemented

    return decomposition


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.erfc.default: _in_float64(_erfc),
    aten.special_erfc.default: _in_float64(_erfc),
    aten.special_erfcx.default: _in_float64(_erfcx),
    aten.special_ndtri.default: _in_float64(_ndtri),
    aten.special_log_ndtr.default: _in_float64(_log_ndtr),
}
