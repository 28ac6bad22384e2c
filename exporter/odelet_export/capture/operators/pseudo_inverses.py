"""The pseudo-inverse of small matrices of full rank in elementary operators, by a QR factorisation.

ONNX has no singular values. Where no singular value is so small that torch takes it for zero, the pseudo-inverse of a
tall matrix QR is R^-1 Q^T; where one is, or may be, the answer is NaN. torchsde needs it for `logqp=True` with noise
that is not diagonal.

Source: Gram and Schmidt's process, taken twice, which is as orthogonal as rounding lets it be: Giraud, Langou &
Rozloznik, Comput. Math. Appl. 50 (2005).
"""

from __future__ import annotations

from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from odelet_export.capture.operators.triangular import LARGEST, solve_triangular

aten = torch.ops.aten


def pinv(
    matrix: Tensor, *, atol: Tensor | None = None, rtol: Tensor | None = None, hermitian: bool = False
) -> Tensor | NotImplementedType:
    """The pseudo-inverse (..., n, m) of a matrix (..., m, n); a column or row of zeros counts as absent.

    atol, rtol: singular values up to the larger of atol and rtol times the largest one are zero to torch.
    """
    if hermitian or not matrix.is_floating_point() or min(matrix.shape[-2:]) > LARGEST:
        return NotImplemented
    if matrix.shape[-2] < matrix.shape[-1]:
        wide = pinv(matrix.mT, atol=atol, rtol=rtol)
        return wide.mT if isinstance(wide, Tensor) else NotImplemented
    scale = matrix.abs().amax((-2, -1), keepdim=True)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    q, r = _factors(matrix / scale)
    inverse = solve_triangular(r, q.mT, upper=True)
    assert isinstance(inverse, Tensor)
    # The norms are at least the largest singular value, and the inverse of the smallest one that is not zero.
    size, inverse_size = ((x * x).sum((-2, -1), keepdim=True).sqrt() for x in (matrix / scale, inverse))
    eps = torch.finfo(matrix.dtype).eps * int(matrix.shape[-2])
    small = size * inverse_size * eps >= 1
    if rtol is not None:
        small = small | (size * inverse_size * _like(rtol, matrix) >= 1)
    if atol is not None:
        small = small | (inverse_size / scale * _like(atol, matrix) >= 1)
    return torch.where(small | inverse_size.isnan(), torch.full_like(inverse, float("nan")), inverse / scale)


def _like(tolerance: Tensor, matrix: Tensor) -> Tensor:
    """A tolerance (...) as a table (..., 1, 1) of the matrix's dtype."""
    return tolerance.to(matrix.dtype)[..., None, None]


def _factors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Q (..., m, n), with columns of length 1 that are orthogonal, and the triangle R (..., n, n) with matrix = QR.

    For a column of zeros, Q has zeros as well, and R has a 1.
    """
    n = int(matrix.shape[-1])  # tracing below autograd gives a SymInt, even for a size that is fixed
    q, columns = matrix[..., :0], []
    for j in range(n):
        column = matrix[..., j : j + 1]
        parts = []
        if j:
            first = q.mT @ column
            rest = column - q @ first
            second = q.mT @ rest
            rest, parts = rest - q @ second, [first + second]
        else:
            rest = column
        length = (rest * rest).sum(-2, keepdim=True).sqrt()
        absent = column.abs().amax(-2, keepdim=True) == 0
        length = torch.where(absent, torch.ones_like(length), length)
        q = torch.cat([q, rest / length], dim=-1)
        below = [torch.zeros_like(matrix[..., :1, :1]).expand(*matrix.shape[:-2], n - j - 1, 1)]
        columns.append(torch.cat([*parts, length, *(below if j < n - 1 else [])], dim=-2))
    return q, torch.cat(columns, dim=-1)


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {aten.linalg_pinv.atol_rtol_tensor: pinv}
