"""Triangular systems and Cholesky factors of small matrices, written out: a normal distribution with a covariance
matrix asks for both. The size is fixed when the model is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
# A row takes a few nodes, whatever it holds; above this it had better be a library's work.
LARGEST = 32


def _fits(matrix: Tensor) -> bool:
    return matrix.is_floating_point() and matrix.shape[-1] <= LARGEST


def solve_triangular(
    matrix: Tensor, right: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    """The x of matrix @ x = right, or of x @ matrix = right: (..., n, n) and (..., n, m), row by row."""
    if not _fits(matrix):
        return NotImplemented
    if not left:
        return solve_triangular(matrix.mT, right.mT, upper=not upper, unitriangular=unitriangular).mT
    n = int(matrix.shape[-1])  # below autograd it is a symbol, even where it cannot change
    batch = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    right = right.expand(*batch, *right.shape[-2:])
    rows: list[Tensor] = []  # those found, in the order of the matrix
    for i in reversed(range(n)) if upper else range(n):
        row = right[..., i : i + 1, :]
        if rows:
            beside = matrix[..., i : i + 1, i + 1 :] if upper else matrix[..., i : i + 1, :i]
            row = row - beside @ torch.cat(rows, dim=-2)
        row = row if unitriangular else row / matrix[..., i : i + 1, i : i + 1]
        rows = [row, *rows] if upper else [*rows, row]
    return torch.cat(rows, dim=-2)


def cholesky_ex(matrix: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The factor, column by column, and 0 for no error: where torch raises, as the matrix is not positive definite,
    this gives NaN."""
    if not _fits(matrix):
        return NotImplemented
    n = int(matrix.shape[-1])  # below autograd it is a symbol, even where it cannot change
    rows = torch.arange(n).unsqueeze(-1)
    factor = matrix[..., :, :0]
    for j in range(n):
        column = matrix[..., :, j : j + 1]
        if j:
            column = column - factor @ factor[..., j : j + 1, :].mT
        column = column / column[..., j : j + 1, :].sqrt()
        factor = torch.cat([factor, torch.where(rows < j, torch.zeros((), dtype=matrix.dtype), column)], dim=-1)
    return factor.mT if upper else factor, torch.zeros(matrix.shape[:-2], dtype=torch.int32)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.linalg_solve_triangular.default: solve_triangular,
    aten.linalg_cholesky_ex.default: cholesky_ex,
}
