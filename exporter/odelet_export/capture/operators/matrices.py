"""Inverses, linear systems, determinants and exponentials of matrices in elementary operators.

ONNX has determinants alone, without gradients.

The algorithm is Gauss-Jordan elimination with partial pivoting: as in LAPACK, the pivot is the largest element of its
column. The number of rows n is fixed when the model is traced. torch passes an LU factorisation from these operators to
their gradients. Here that is the matrix itself, which only the functions of this file give and take. Shapes: a matrix
is (..., n, n), a right side (..., n, m).
"""

from __future__ import annotations

from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten
# Nodes and work grow with n. Larger matrices are left to torch's own translation.
LARGEST = 32
# The dtype of pivots that stand for no factorisation; torch's own pivots are int32.
_OURS = torch.int64


def _eliminate(matrix: Tensor, right: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Solve matrix @ x = right.

    Returns x (..., n, m); the n pivots, each (...); and for each pivot a bool (...), whether two rows were swapped.
    """
    n = int(matrix.shape[-1])
    batch = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    both = torch.cat([x.expand(*batch, n, x.shape[-1]) for x in (matrix, right)], dim=-1)
    rows = torch.arange(n)
    pivots, swapped = [], []
    for k in range(n):
        place = both[..., k:, k].abs().argmax(-1, keepdim=True) + k
        order = torch.where(rows == k, place, torch.where(rows == place, k, rows))
        both = torch.gather(both, -2, order.unsqueeze(-1).expand(both.shape))
        pivot = both[..., k : k + 1, k : k + 1]
        row = both[..., k : k + 1, :] / pivot
        here = (rows == k).unsqueeze(-1)
        both = torch.where(here, row, both - both[..., :, k : k + 1] * row)
        pivots.append(pivot[..., 0, 0])
        swapped.append(place[..., 0] != k)
    return both[..., n:], pivots, swapped


def _fits(matrix: Tensor) -> bool:
    """Whether a matrix is small enough, and not complex."""
    return matrix.is_floating_point() and matrix.shape[-1] <= LARGEST


def is_ours(pivots: Tensor) -> bool:
    """Whether pivots mark that the factorisation beside them is the matrix itself."""
    return pivots.dtype == _OURS


def _no_pivots(matrix: Tensor) -> Tensor:
    """Pivots (..., n) which mark that the factorisation beside them is the matrix itself."""
    return torch.zeros(matrix.shape[:-1], dtype=_OURS)


def _factorised(matrix: Tensor) -> Tensor:
    """The matrix that torch factorises for a determinant, and solves with for its gradient.

    It is the transpose of a contiguous matrix, whose columns lie together as LAPACK wants them.
    """
    return matrix.mT if matrix.is_contiguous() else matrix


def _solved(matrix: Tensor, right: Tensor, *, left: bool) -> Tensor:
    """The solution x of matrix @ x = right, or of x @ matrix = right where `left` is False."""
    if left:
        return _eliminate(matrix, right)[0]
    return _eliminate(matrix.mT, right.mT)[0].mT


def inv_ex(matrix: Tensor, *, check_errors: bool = False) -> tuple[Tensor, ...] | NotImplementedType:
    """The inverse (..., n, n) and error codes (...) of 0: a singular matrix gives infinities, where torch raises."""
    if not _fits(matrix):
        return NotImplemented
    inverse, _, _ = _eliminate(matrix, torch.eye(int(matrix.shape[-1]), dtype=matrix.dtype))
    return inverse, torch.zeros(matrix.shape[:-2], dtype=torch.int32)


def solve_ex(
    matrix: Tensor, right: Tensor, *, left: bool = True, check_errors: bool = False
) -> tuple[Tensor, ...] | NotImplementedType:
    """The solution of a system, with a right side (..., n) or (..., n, m); a factorisation; error codes (...) of 0."""
    if not _fits(matrix):
        return NotImplemented
    vector = right.ndim == 1 or (right.ndim == matrix.ndim - 1 and right.shape == matrix.shape[:-1])
    solution = _solved(matrix, right.unsqueeze(-1) if vector else right, left=left)
    info = torch.zeros(matrix.shape[:-2], dtype=torch.int32)
    return solution.squeeze(-1) if vector else solution, matrix, _no_pivots(matrix), info


def lu_solve(
    matrix: Tensor, pivots: Tensor, right: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor | NotImplementedType:
    """The solution of a system by a factorisation of `solve_ex`, `det` or `slogdet`."""
    if not _fits(matrix):
        return NotImplemented
    return _solved(matrix.mT if adjoint else matrix, right, left=left)


def det(matrix: Tensor) -> tuple[Tensor, ...] | NotImplementedType:
    """The determinant (...), and a factorisation for its gradient."""
    if not _fits(matrix):
        return NotImplemented
    sign, pivots = _pivots(matrix)
    for pivot in pivots:
        sign = sign * pivot
    return sign, _factorised(matrix), _no_pivots(matrix)


def slogdet(matrix: Tensor) -> tuple[Tensor, ...] | NotImplementedType:
    """The sign of the determinant and the logarithm of its absolute value, each (...), and a factorisation."""
    if not _fits(matrix):
        return NotImplemented
    sign, pivots = _pivots(matrix)
    size = torch.zeros_like(sign)
    for pivot in pivots:
        sign, size = sign * pivot.sign(), size + pivot.abs().log()
    return sign, size, _factorised(matrix), _no_pivots(matrix)


def _pivots(matrix: Tensor) -> tuple[Tensor, list[Tensor]]:
    """1 or -1 (...) for an even or odd number of swaps, and the pivots, each (...)."""
    _, pivots, swapped = _eliminate(matrix, matrix[..., :1])
    sign = torch.ones_like(pivots[0])
    for swap in swapped:
        sign = torch.where(swap, -sign, sign)
    return sign, pivots


# The terms of the exponential series, and how often a matrix may be halved so that they give all digits.
_TERMS, _HALVINGS = 18, 24


def matrix_exp(matrix: Tensor) -> Tensor | NotImplementedType:
    """The exponential of matrices (..., n, n): the series of a matrix that is halved until it is small, squared again.

    How often it is halved depends on its values, and all squares are computed.
    """
    if not matrix.is_floating_point():
        return NotImplemented
    size = matrix.abs().sum(-2).amax(-1)[..., None, None]
    halvings = torch.where(size > 0.5, size, 0.5).log2().ceil() + 1
    halvings = halvings.clamp(max=_HALVINGS)
    small = matrix * 0.5**halvings
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    series = one + small / _TERMS
    for k in reversed(range(1, _TERMS)):
        series = one + small @ series / k
    for k in range(_HALVINGS):
        series = torch.where(k < halvings, series @ series, series)
    return series


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.linalg_inv_ex.default: inv_ex,
    aten._linalg_solve_ex.default: solve_ex,
    aten._linalg_det.default: det,
    aten._linalg_slogdet.default: slogdet,
    aten.linalg_matrix_exp.default: matrix_exp,
    aten._linalg_check_errors.default: lambda *_, **__: None,
}
