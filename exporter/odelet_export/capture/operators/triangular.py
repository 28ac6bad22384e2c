"""Triangular systems and Cholesky factors of small matrices in elementary operators, row by row and column by column.

torch.distributions.MultivariateNormal needs both. The number of rows n is fixed when the model is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten
# A row takes a few nodes, whatever its length. Larger matrices are left to torch's own translation.
LARGEST = 32


def _fits(matrix: Tensor) -> bool:
    """Whether a matrix is small enough, and not complex."""
    return matrix.is_floating_point() and matrix.shape[-1] <= LARGEST


def solve_triangular(
    matrix: Tensor, right: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor | NotImplementedType:
    """The solution x (..., n, m) of matrix @ x = right, or of x @ matrix = right where `left` is False.

    matrix: (..., n, n), of which one triangle is read. unitriangular: whether its diagonal is taken as ones. right:
    (..., n, m).
    """
    if not _fits(matrix):
        return NotImplemented
    if not left:
        return solve_triangular(matrix.mT, right.mT, upper=not upper, unitriangular=unitriangular).mT
    n = int(matrix.shape[-1])  # tracing below autograd gives a SymInt, even for a size that is fixed
    batch = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    right = right.expand(*batch, *right.shape[-2:])
    rows: list[Tensor] = []  # the rows of x computed so far, from the top to the bottom of the matrix
    for i in reversed(range(n)) if upper else range(n):
        row = right[..., i : i + 1, :]
        if rows:
            off_diagonal = matrix[..., i : i + 1, i + 1 :] if upper else matrix[..., i : i + 1, :i]
            row = row - off_diagonal @ torch.cat(rows, dim=-2)
        row = row if unitriangular else row / matrix[..., i : i + 1, i : i + 1]
        rows = [row, *rows] if upper else [*rows, row]
    return torch.cat(rows, dim=-2)


def cholesky_ex(
    matrix: Tensor, *, upper: bool = False, check_errors: bool = False
) -> tuple[Tensor, Tensor] | NotImplementedType:
    """The Cholesky factor (..., n, n) and the error codes (...), all 0.

    A matrix that is not positive definite gives NaN, where torch raises.
    """
    if not _fits(matrix):
        return NotImplemented
    n = int(matrix.shape[-1])  # tracing below autograd gives a SymInt, even for a size that is fixed
    rows = torch.arange(n).unsqueeze(-1)
    factor = matrix[..., :, :0]
    for j in range(n):
        column = matrix[..., :, j : j + 1]
        if j:
            column = column - factor @ factor[..., j : j + 1, :].mT
        column = column / column[..., j : j + 1, :].sqrt()
        factor = torch.cat([factor, torch.where(rows < j, torch.zeros((), dtype=matrix.dtype), column)], dim=-1)
    return factor.mT if upper else factor, torch.zeros(matrix.shape[:-2], dtype=torch.int32)


def cholesky(matrix: Tensor, upper: bool = False) -> Tensor | NotImplementedType:
    """The Cholesky factor, by the older name of the operator."""
    return cholesky_ex(matrix, upper=upper)[0] if _fits(matrix) else NotImplemented


def triangular_solve(
    right: Tensor, matrix: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Tensor, Tensor] | NotImplementedType:
    """The solution of a triangular system, and the matrix, by the older name of the operator."""
    if not _fits(matrix):
        return NotImplemented
    turned = matrix.mT if transpose else matrix
    return solve_triangular(turned, right, upper=upper != transpose, unitriangular=unitriangular), matrix


def cholesky_solve(right: Tensor, factor: Tensor, upper: bool = False) -> Tensor | NotImplementedType:
    """The solution x of (factor @ factor.mT) @ x = right, or with the factors in the other order where it is upper."""
    if not _fits(factor):
        return NotImplemented
    lower = factor.mT if upper else factor
    return solve_triangular(lower.mT, solve_triangular(lower, right, upper=False), upper=True)


def cholesky_inverse(factor: Tensor, upper: bool = False) -> Tensor | NotImplementedType:
    """The inverse of the matrix that has the Cholesky factor."""
    if not _fits(factor):
        return NotImplemented
    return cholesky_solve(torch.eye(int(factor.shape[-1]), dtype=factor.dtype).expand(factor.shape), factor, upper)


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.linalg_solve_triangular.default: solve_triangular,
    aten.linalg_cholesky_ex.default: cholesky_ex,
    aten.cholesky.default: cholesky,
    aten.triangular_solve.default: triangular_solve,
    aten.cholesky_solve.default: cholesky_solve,
    aten.cholesky_inverse.default: cholesky_inverse,
}
