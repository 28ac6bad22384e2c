"""Decompositions of operators that compute with complex tensors, and that torch does not translate to ONNX.

Each has a formula in the real and imaginary parts. A function takes the arguments of its operator; NotImplemented
leaves real tensors, and cases without a formula, as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from odelet_export.capture.operators.complex_parts import (
    MOVES,
    Decomposition,
    any_complex,
    complex_of,
    joined,
    parts_of,
    reals_of,
)

aten = torch.ops.aten


def _product(product: Decomposition) -> Decomposition:
    def multiplied(x: Any, other: Any) -> Any:
        if not any_complex(x, other):
            return NotImplemented
        return joined(*_times(x, other, product))

    return multiplied


def _times(x: Any, other: Any, product: Decomposition) -> tuple[Any, Any]:
    """The real and the imaginary part of a product of which at least one factor is complex."""
    if not any_complex(x):
        return tuple(product(x, part) for part in parts_of(other))
    if not any_complex(other):
        return tuple(product(part, other) for part in parts_of(x))
    (a, b), (c, d) = parts_of(x), parts_of(other)
    return product(a, c) - product(b, d), product(a, d) + product(b, c)


def _addmm(x: Tensor, first: Tensor, second: Tensor, *, beta: complex = 1, alpha: complex = 1) -> Any:
    return x * beta + (first @ second) * alpha if any_complex(x, first, second) else NotImplemented


def _dot(conjugate: bool) -> Decomposition:
    def dot(x: Tensor, other: Tensor) -> Any:
        return ((x.conj() if conjugate else x) * other).sum() if any_complex(x, other) else NotImplemented

    return dot


def _divided(x: Any, other: Any) -> Any:
    if not any_complex(x, other):
        return NotImplemented
    (a, b), (c, d) = parts_of(x), parts_of(other)
    if not any_complex(other):
        return joined(a / other, b / other)
    # The larger part of the divisor is divided out first, so that no square overflows.
    scale = 1 / torch.maximum(abs(c), abs(d)) if isinstance(c, Tensor) else 1 / max(abs(c), abs(d))
    c, d = c * scale, d * scale
    size = (c * c + d * d) / scale
    return joined((a * c + b * d) / size, (b * c - a * d) / size)


def _added(sign: int) -> Decomposition:
    def added(x: Any, other: Any, *, alpha: complex = 1) -> Any:
        if not any_complex(x, other):
            return NotImplemented
        (a, b), (c, d) = parts_of(x), parts_of(other * alpha)
        return joined(a + c, b + d) if sign > 0 else joined(a - c, b - d)

    return added


def _summed(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    axes = args[0] if args else kwargs.pop("dim", None)
    if not any_complex(x):
        return NotImplemented
    all_axes = list(range(x.ndim)) if not axes else [one % x.ndim for one in axes]
    return complex_of(torch.sum(reals_of(x), all_axes, *args[1:], **kwargs))


def _norm(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return aten.linalg_vector_norm(x.abs(), *args, **kwargs) if any_complex(x) else NotImplemented


def _diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    if not any_complex(x):
        return NotImplemented
    return complex_of(aten.diagonal(reals_of(x), offset, dim1 % x.ndim, dim2 % x.ndim).transpose(-1, -2))


def _equal(x: Any, other: Any) -> Any:
    if not any_complex(x, other):
        return NotImplemented
    (a, b), (c, d) = parts_of(x), parts_of(other)
    return (a == c) & (b == d)


def _function(formula: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Decomposition:
    """The decomposition of a function. formula: its real and imaginary part, from those of its argument."""

    def computed(x: Tensor) -> Any:
        return joined(*formula(*parts_of(x))) if any_complex(x) else NotImplemented

    return computed


def _of_parts(formula: Callable[[Tensor, Tensor], Tensor]) -> Decomposition:
    """The decomposition of a function with real values. formula: its value, from the parts of its argument."""
    return lambda x: formula(*parts_of(x)) if any_complex(x) else NotImplemented


def _exp(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.exp(a) * torch.cos(b), torch.exp(a) * torch.sin(b)


def _log(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.log(torch.hypot(a, b)), torch.atan2(b, a)


def _sqrt(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    # The part that is a difference of near numbers is computed from the other one.
    larger = torch.sqrt(torch.hypot(a, b) / 2 + a.abs() / 2)
    smaller = torch.where(larger > 0, b.abs() / (2 * larger), 0.0)
    real, imaginary = torch.where(a >= 0, larger, smaller), torch.where(a >= 0, smaller, larger)
    return real, torch.where(b < 0, -imaginary, imaginary)


def _tanh(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    real, imaginary = torch.tanh(a), torch.tan(b)
    below = 1 + (real * imaginary) ** 2
    return real * (1 + imaginary**2) / below, imaginary * (1 - real**2) / below


def _power(x: Tensor, exponent: Any) -> Any:
    """x to a number: by products for small whole ones, else as exp(exponent log x)."""
    if not any_complex(x, exponent) or isinstance(exponent, Tensor):
        return NotImplemented
    if exponent in range(1, 9):
        return math.prod([x] * int(exponent))
    return torch.exp(torch.log(x) * exponent)


DECOMPOSITIONS: dict[OpOverload, Decomposition] = {
    **MOVES,
    **dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar), _product(lambda a, b: a * b)),
    **dict.fromkeys((aten.mm.default, aten.bmm.default), _product(lambda a, b: a @ b)),
    aten.addmm.default: _addmm,
    aten.dot.default: _dot(False),
    aten.vdot.default: _dot(True),
    **dict.fromkeys((aten.div.Tensor, aten.div.Scalar), _divided),
    **dict.fromkeys((aten.add.Tensor, aten.add.Scalar), _added(1)),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar), _added(-1)),
    aten.sum.dim_IntList: _summed,
    aten.linalg_vector_norm.default: _norm,
    aten.diagonal.default: _diagonal,
    **dict.fromkeys((aten.eq.Tensor, aten.eq.Scalar), _equal),
    # A conjugate that is no view of its argument can be viewed as real parts.
    **dict.fromkeys(
        (aten._conj.default, aten._conj_physical.default, torch.ops.prims.conj_physical.default),
        _function(lambda a, b: (a, -b)),
    ),
    aten.abs.default: _of_parts(torch.hypot),
    aten.angle.default: _of_parts(lambda a, b: torch.atan2(b, a)),
    aten.exp.default: _function(_exp),
    aten.log.default: _function(_log),
    aten.sqrt.default: _function(_sqrt),
    aten.tanh.default: _function(_tanh),
    aten.sin.default: _function(lambda a, b: (torch.sin(a) * torch.cosh(b), torch.cos(a) * torch.sinh(b))),
    aten.cos.default: _function(lambda a, b: (torch.cos(a) * torch.cosh(b), -torch.sin(a) * torch.sinh(b))),
    aten.pow.Tensor_Scalar: _power,
}
